package wire

import (
	"github.com/postrider/postrider/core"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
)

// Envelope returns what a plugin sees of a message that is on its way to an
// endpoint. The message was checked, so all of it is UTF-8.
func Envelope(id string, to core.Endpoint, m *core.Message) *interceptorv1.Message {
	e := &interceptorv1.Message{
		Id:          id,
		Endpoint:    endpoint(to.URL),
		ReversePath: m.From,
		Parameters:  parameters(m.Params),
		Recipients:  make([]*interceptorv1.Recipient, len(m.To)),
	}
	for i := range m.To {
		e.Recipients[i] = &interceptorv1.Recipient{Address: m.To[i].Address, Parameters: parameters(m.To[i].Params)}
	}
	if size := m.Body.Size(); size >= 0 {
		known := uint64(size)
		e.Size = &known
	}
	return e
}

func parameters(list []core.Param) (texts []string) {
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}

// Report returns what became of a message, by the error that the chain of the
// delivery has returned. Of each reason there are so many octets at most.
func Report(id string, r *core.Receipt, err error, most int) *interceptorv1.ReportRequest {
	report := &interceptorv1.ReportRequest{
		Id: id, QueueId: bounded(r.QueueID()), Attempts: uint32(r.Attempts),
		Results: make([]*interceptorv1.Result, len(r.Recipients)),
	}
	for i := range r.Recipients {
		one := &r.Recipients[i]
		became, why := one.After(err)
		result := &interceptorv1.Result{Address: text(one.Address), Outcome: outcome(became), Code: uint32(one.Reply.Code), EnhancedCode: one.Reply.Enhanced.String()}
		if why != nil {
			result.Text = cut(text(why.Error()), most)
		}
		report.Results[i] = result
	}
	return report
}

func outcome(o core.Outcome) interceptorv1.Outcome {
	switch o {
	case core.Accepted:
		return interceptorv1.Outcome_OUTCOME_ACCEPTED
	case core.Refused:
		return interceptorv1.Outcome_OUTCOME_REFUSED
	case core.Deferred:
		return interceptorv1.Outcome_OUTCOME_DEFERRED
	case core.Unknown:
		return interceptorv1.Outcome_OUTCOME_UNKNOWN
	}
	return interceptorv1.Outcome_OUTCOME_UNSPECIFIED
}

// CoreOutcome is the other way of an outcome. One that is not known here may be an
// accepted message.
func CoreOutcome(o interceptorv1.Outcome) core.Outcome {
	switch o {
	case interceptorv1.Outcome_OUTCOME_ACCEPTED:
		return core.Accepted
	case interceptorv1.Outcome_OUTCOME_REFUSED:
		return core.Refused
	case interceptorv1.Outcome_OUTCOME_DEFERRED:
		return core.Deferred
	}
	return core.Unknown
}
