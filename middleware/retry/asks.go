package retry

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
)

// greylisted reports whether a server says that it defers whom it does not know
// yet (RFC 6647 §2.1). There is no code for it: it is said in the text.
func greylisted(r core.Reply) bool {
	if !r.Temporary() {
		return false
	}
	text := strings.ToLower(r.Text)
	for _, word := range []string{"greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// stated returns the delay that a temporary reply states, or an error of an
// interceptor; zero if there is none.
func stated(r core.Reply, err error) time.Duration {
	if r.Temporary() {
		return delayIn(r.Text)
	}
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return max(e.RetryAfter(), 0)
	}
	return 0
}

// delayIn finds a delay in what a server writes for people: "try again in 300
// seconds", "come back in 00:05:00", "greylisted for 5 minutes". A number that
// belongs to something else ("30 messages per 60 seconds") is none.
func delayIn(text string) time.Duration {
	words := strings.Fields(strings.ToLower(text))
	cue := -1 // where it was last said that there is something to wait for
	for i, w := range words {
		words[i] = strings.Trim(w, ".,;:!()[]<>\"'")
		if i > 0 && cue >= 0 && i-cue <= 5 && (cue == i-1 || introducesDelay(words[i-1])) {
			unit := ""
			if i+1 < len(words) {
				unit = strings.Trim(words[i+1], ".,;:!()[]<>\"'")
			}
			if d := duration(words[i], unit); d > 0 {
				return d
			}
		}
		if isCue(words[i]) {
			cue = i
		}
	}
	return 0
}

func isCue(word string) bool {
	switch word {
	case "again", "back", "retry", "wait", "delayed", "deferred":
		return true
	}
	return strings.Contains(word, "listed") || strings.Contains(word, "listing")
}

func introducesDelay(word string) bool {
	switch word {
	case "in", "after", "for", "least", "about", "approximately", "another":
		return true
	}
	return false
}

// duration reads "300" "seconds", "300s" or "00:05:00".
func duration(number, unit string) time.Duration {
	if parts := strings.Split(number, ":"); len(parts) == 2 || len(parts) == 3 {
		total := 0
		for _, p := range parts {
			n, ok := count(p)
			if !ok || n > 59 {
				return 0
			}
			total = total*60 + n
		}
		return time.Duration(total) * time.Second
	}
	digits := strings.TrimRight(number, "abcdefghijklmnopqrstuvwxyz")
	if digits != number {
		unit = number[len(digits):]
	}
	n, ok := count(digits)
	if !ok {
		return 0
	}
	unit, _, _ = strings.Cut(unit, "(") // "second(s)"
	switch unit {
	case "s", "sec", "secs", "second", "seconds":
		return time.Duration(n) * time.Second
	case "m", "min", "mins", "minute", "minutes":
		return time.Duration(n) * time.Minute
	case "h", "hr", "hrs", "hour", "hours":
		return time.Duration(n) * time.Hour
	}
	return 0
}

// count reads a number that a delay can have: of six digits at most.
func count(digits string) (int, bool) {
	if len(digits) > 6 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}
