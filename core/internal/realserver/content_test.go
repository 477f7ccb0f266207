package realserver

import "testing"

func TestContent(t *testing.T) {
	const start = "Return-Path: <me@example.com>\nDelivered-To: you@example.test\n"
	const received = "Received: from x (unknown [127.0.0.1])\n\tby mail.example.test (Postfix) with ESMTP id 4jY"
	const date = "Mon, 23 Nov 2026 13:24:06 +0000 (UTC)\n"
	for name, c := range map[string]struct{ delivered, want string }{
		"one recipient":       {start + received + "\n\tfor <you@example.test>; " + date + "A: x\n\ny\n", "A: x\r\n\r\ny\r\n"},
		"several recipients":  {start + received + ";\n\t" + date + "A: x\n\ny\n", "A: x\r\n\r\ny\r\n"},
		"semicolon":           {start + received + "\n\tfor <\"a;b\"@example.test>; " + date + "\n", "\r\n"},
		"empty content":       {start + received + ";\n\t" + date, ""},
		"begins with a space": {start + received + ";\n\t" + date + "\tx\n", "\tx\r\n"},
		"own trace":           {start + received + ";\n\t" + date + "Received: by x; " + date, "Received: by x; " + date[:len(date)-1] + "\r\n"},
		"CR":                  {start + received + ";\n\t" + date + "a\rb\n", "a\rb\r\n"},
		"Exim": {"Return-path: <>\nEnvelope-to: you@example.test,\n you@example.test\n" + received + "\n\tfor you@example.test;\n\t" + date + "A: x\n\n",
			"A: x\r\n\r\n"},
		"Dovecot": {"Return-Path: <>\nReceived: from x\n\t(envelope-from <>); " + date + "Delivered-To: x\n\n",
			"Delivered-To: x\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Content([]byte(c.delivered))
			if err != nil || string(got) != c.want {
				t.Errorf("the content is %q (%v), wanted %q", got, err, c.want)
			}
		})
	}
	for name, delivered := range map[string]string{
		"empty":          "",
		"other":          "Subject: x\n\ny\n",
		"no sender":      "Delivered-To: x\nReceived: x; " + date,
		"two recipients": "Return-Path: <>\nDelivered-To: x\nEnvelope-To: x\nReceived: x; " + date,
		"no trace":       start + "Subject: x\n\ny\n",
		"trace, no date": start + received + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Content([]byte(delivered)); err == nil {
				t.Errorf("the content is %q, wanted an error", got)
			}
		})
	}
}
