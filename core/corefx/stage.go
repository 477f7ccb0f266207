package corefx

import "fmt"

// Stage is the place of an interceptor in the pipeline. The stages are in order,
// the outermost first: each sees what those after it do, and none of what those
// before it do.
type Stage uint8

const (
	// Observe sees everything: tracing, metrics, logs.
	Observe Stage = iota + 1
	// Admit decides whether there is to be a delivery at all: policy,
	// suppression lists, audit.
	Admit
	// Retry tries again.
	Retry
	// Limit holds each try back until it may go: rate limits, breakers.
	Limit
	// Transform changes the content, and signs it last.
	Transform
	// Wire is closest to the server: parameters of commands, the dialogue.
	Wire
)

var stageNames = [...]string{Observe: "observe", Admit: "admit", Retry: "retry", Limit: "limit", Transform: "transform", Wire: "wire"}

// String returns the stage's name: "observe", "admit", "retry", "limit",
// "transform", "wire".
func (s Stage) String() string {
	if !s.valid() {
		return fmt.Sprintf("stage %d", uint8(s))
	}
	return stageNames[s]
}

func (s Stage) valid() bool { return s >= Observe && s <= Wire }

// UnmarshalText reads a stage's name from a configuration file.
func (s *Stage) UnmarshalText(text []byte) error {
	for n := Observe; n <= Wire; n++ {
		if stageNames[n] == string(text) {
			*s = n
			return nil
		}
	}
	return fmt.Errorf("there is no stage %.70q: use observe, admit, retry, limit, transform or wire", text)
}
