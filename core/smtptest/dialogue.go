package smtptest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// step is one step of a dialogue.
type step struct {
	line    int    // of the dialogue, from 1
	text    string // as it was written
	verb    string
	arg     string         // the text to send or to expect, ready for use
	wait    time.Duration  // of PAUSE and DRIP
	pattern *regexp.Regexp // of C/
}

// fromClient reports whether the step takes something that the client sends.
func (st *step) fromClient() bool { return st.verb[0] == 'C' && st.verb != "CLOSE" }

// ends reports whether no other step can follow on the same connection.
func (st *step) ends() bool {
	switch st.verb {
	case "CLOSE", "RESET", "HANG", "STALL", "IGNORE", "DRIP":
		return true
	}
	return false
}

// parseDialogue returns the steps for each connection.
func parseDialogue(dialogue string, options *Options) ([][]step, error) {
	parts := [][]step{nil}
	for n, line := range strings.Split(dialogue, "\n") {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if line == "---" {
			parts = append(parts, nil)
			continue
		}
		part := &parts[len(parts)-1]
		st, err := parseStep(line, options)
		if err == nil && len(*part) > 0 {
			if last := (*part)[len(*part)-1]; last.ends() {
				err = fmt.Errorf("it is never played: %s in line %d is the last step of its connection; --- begins the next", last.verb, last.line)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the dialogue, %q: %w", n+1, line, err)
		}
		st.line = n + 1
		*part = append(*part, st)
	}
	return parts, nil
}

func parseStep(line string, options *Options) (step, error) {
	verb, arg, _ := strings.Cut(line, " ")
	st := step{text: line, verb: verb, arg: arg}
	var err error
	switch verb {
	case "S:", "C:", "C|":
		st.arg += "\r\n"
	case "S~", "C~":
		if st.arg, err = strconv.Unquote(arg); err != nil {
			err = fmt.Errorf(`a Go string is to follow, as in %s "250-mx\r\n"`, verb)
		}
	case "C/":
		st.pattern, err = regexp.Compile("^(?:" + arg + ")$")
	case "PAUSE":
		st.wait, err = time.ParseDuration(arg)
	case "DRIP":
		every, text, _ := strings.Cut(arg, " ")
		st.arg = text
		if st.wait, err = time.ParseDuration(every); err == nil && text == "" {
			err = errors.New("a time and a text are to follow, as in DRIP 5s x")
		}
	case "TLS", "CONTENT", "CLOSE", "RESET", "HANG", "STALL", "IGNORE":
		err = checkPlainStep(st, options)
	default:
		err = errors.New("no such step: there are S: S~ C: C| C~ C/ CONTENT TLS PAUSE DRIP CLOSE RESET HANG STALL IGNORE and ---")
	}
	return st, err
}

// checkPlainStep is for the steps without an argument.
func checkPlainStep(st step, options *Options) error {
	switch {
	case st.arg != "":
		return errors.New("nothing can follow " + st.verb)
	case st.verb == "TLS" && options.TLS == nil:
		return errors.New("set Options.TLS, to a configuration of NewCertificate for example")
	case st.verb == "RESET" && !options.OverTCP:
		return errors.New("a pipe cannot be reset: set Options.OverTCP")
	}
	return nil
}
