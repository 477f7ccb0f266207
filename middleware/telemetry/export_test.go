package telemetry

import "github.com/postrider/postrider/core"

// Explain returns what is said about an error.
func Explain(err error, stage core.Stage) (kind string, class core.Class, outcome core.Outcome) {
	f := explain(err, stage)
	return f.kind, f.class, outcomeOf(err)
}
