package smtptest

import (
	"cmp"
	"os"
	"strconv"

	"github.com/postrider/postrider/core"
)

// AtDepth returns the configuration with the PipelineDepth that the environment
// asks for, unless it has one of its own. So a whole suite of tests can be run
// with sessions that are shared, and with sessions that are not:
//
//	POSTRIDER_TEST_DEPTH=16 go test ./...
//
// It panics if what the environment says is no number.
func AtDepth(config core.Config) core.Config {
	if s := os.Getenv("POSTRIDER_TEST_DEPTH"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			panic("POSTRIDER_TEST_DEPTH: " + err.Error())
		}
		config.PipelineDepth = cmp.Or(config.PipelineDepth, n)
	}
	return Record(config)
}
