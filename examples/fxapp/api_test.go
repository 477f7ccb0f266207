package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestAPI_answersForEachRecipient(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		if to.Address == "nobody@example.net" {
			return smtptest.Reply("550 5.1.1 no such mailbox")
		}
		return nil
	}})
	app, a := start(t, settingsFor(server))
	got, err := send(t, a, "Hi!", "ann@example.net", "nobody@example.net")
	app.RequireStop()
	want := answer{"Q1", []outcome{
		{"ann@example.net", "accepted", "250 2.0.0 queued as Q1", ""},
		{"nobody@example.net", "refused", "550 5.1.1 no such mailbox", "rcpt: 550 5.1.1 no such mailbox"},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if m := server.Messages(); len(m) != 1 || string(m[0].Content) != "Auto-Submitted: auto-generated\r\nSubject: hello\r\n\r\nHi!\r\n" {
		t.Errorf("the server got %+v", m)
	}
}

func TestAPI_refuses(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	app, a := start(t, settingsFor(server))
	defer app.RequireStop()
	crowd, err := json.Marshal(letter{"me@example.com", strings.Split(strings.Repeat(" a@example.net", 51), " ")[1:], ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rule, contentType, body string
		status                  int
		says                    string
	}{
		{"what a browser can be made to post", "text/plain", "{}", http.StatusUnsupportedMediaType, "send application/json"},
		{"what is not JSON", "application/json", "hello", http.StatusBadRequest, "not a letter"},
		{"what has other fields", "application/json", `{"cc":["ann@example.net"]}`, http.StatusBadRequest, `unknown field "cc"`},
		{"what is too large", "application/json", `{"body":"` + strings.Repeat("x", mostOctets), http.StatusBadRequest, "too large"},
		{"a letter to nobody", "application/json", "{}", http.StatusBadRequest, "no recipient"},
		{"an address that smuggles a command", "application/json", `{"to":["ann@example.net>\r\nRSET"]}`, http.StatusBadRequest, "control character"},
		{"a large audience", "application/json", string(crowd), http.StatusOK, "51 recipients, and 50 are allowed"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			status, text, err := request(a, tt.contentType, strings.NewReader(tt.body))
			if err != nil || status != tt.status || !strings.Contains(text, tt.says) {
				t.Errorf("answered %d %q, %v, want %d and %q", status, text, err, tt.status, tt.says)
			}
		})
	}
	t.Run("a page whose host's name was made to lead here", func(t *testing.T) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://rebound.example/send", strings.NewReader(`{"to":["ann@example.net"]}`))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		a.http.Handler.ServeHTTP(w, r)
		if w.Code != http.StatusMisdirectedRequest {
			t.Errorf("answered %d %q", w.Code, w.Body)
		}
	})
	if m := server.Messages(); len(m) > 0 {
		t.Errorf("the server got %+v", m)
	}
}
