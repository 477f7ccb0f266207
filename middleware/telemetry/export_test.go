package telemetry

import "github.com/postrider/postrider/core"

// ErrorType returns the value of error.type for an error.
func ErrorType(err error, stage core.Stage) string { return explain(err, stage).kind }
