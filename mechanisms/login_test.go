package mechanisms_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// A server that does not take an initial response asks for the user as well.
func TestLogin_byThePrompt(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		prompts []string
		answers string
	}{
		{"the password alone", []string{"Password:"}, "secret"},
		{"both", []string{"Username:", "Password:"}, "ann secret"},
		{"as Exchange has it", []string{"User Name\x00", "Password\x00"}, "ann secret"},
		{"a prompt that says nothing is for the password", []string{""}, "secret"},
		{"the user twice is too much", []string{"Username:", "Username:"}, "ann unexpected challenge"},
		{"the password twice is too much", []string{"Password:", "Password:"}, "secret unexpected challenge"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a, initial, err := mechanisms.Login("ann", "secret").Start(t.Context(), &core.Peer{})
			if string(initial) != "ann" || err != nil {
				t.Fatalf("%q, %v", initial, err)
			}
			var answers []string
			for _, prompt := range tt.prompts {
				answer, err := a.Next(t.Context(), []byte(prompt))
				if err != nil {
					answer = []byte("unexpected challenge")
				}
				answers = append(answers, string(answer))
			}
			if got := strings.Join(answers, " "); got != tt.answers {
				t.Errorf("%s, want %s", got, tt.answers)
			}
		})
	}
}
