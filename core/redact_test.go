package core

import "testing"

// A short secret is removed where it is a word, and not where its octets occur by chance.
func TestWithoutWord(t *testing.T) {
	for _, tt := range []struct{ text, word, want string }{
		{"password abc is wrong", "abc", "password [redacted] is wrong"},
		{"abc", "abc", "[redacted]"},
		{"abc,abc: abcd xabc", "abc", "[redacted],[redacted]: abcd xabc"},
		{"it is pw.", "pw", "it is [redacted]."},
		{"4.7.12 ticket 12", "12", "4.7.12 ticket [redacted]"},
		{"4.7.0 later", "0", "4.7.0 later"},
		{"nothing", "", "nothing"},
		{"gr\u00fc\u00df \u00fc\u00df", "\u00fc", "gr\u00fc\u00df \u00fc\u00df"},
	} {
		if got := withoutWord(tt.text, tt.word); got != tt.want {
			t.Errorf("%q without %q is %q, want %q", tt.text, tt.word, got, tt.want)
		}
	}
}
