package transport_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/postrider/postrider/transport"
)

func TestProxyFromEnvironment(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		set   []string
		names []string
		want  string // URL and NoProxy
	}{
		{"nothing is set", nil, nil, " "},
		{"ALL_PROXY", []string{"ALL_PROXY=socks5://p"}, nil, "socks5://p localhost"},
		{"all_proxy goes first", []string{"ALL_PROXY=socks5://p", "all_proxy=http://q"}, nil, "http://q localhost"},
		{"without a scheme it is http", []string{"all_proxy=p:3128"}, nil, "http://p:3128 localhost"},
		{"NO_PROXY", []string{"ALL_PROXY=socks5://p", "NO_PROXY=example.com"}, nil, "socks5://p example.com"},
		{"no_proxy goes first", []string{"ALL_PROXY=socks5://p", "NO_PROXY=example.com", "no_proxy=x"}, nil, "socks5://p x"},
		{"a web proxy is not used for mail", []string{"HTTPS_PROXY=http://p", "http_proxy=http://p"}, nil, " "},
		{"unless it is named", []string{"HTTPS_PROXY=http://p"}, []string{"SMTP_PROXY", "HTTPS_PROXY"}, "http://p localhost"},
		{"the first that is set", []string{"SMTP_PROXY=http://q", "HTTPS_PROXY=http://p"}, []string{"SMTP_PROXY", "HTTPS_PROXY"}, "http://q localhost"},
		{"only what is named", []string{"ALL_PROXY=http://q"}, []string{"SMTP_PROXY"}, " "},
		{"in lower case HTTP_PROXY cannot be a client's", []string{"http_proxy=http://p", "REQUEST_METHOD=GET"}, []string{"HTTP_PROXY"}, "http://p localhost"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			environment(t, tt.set)
			p, err := transport.ProxyFromEnvironment(tt.names...)
			if got := p.URL + " " + p.NoProxy; got != tt.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	t.Run("what cannot work is said to be in the variable", func(t *testing.T) {
		environment(t, []string{"ALL_PROXY=ftp://user:s3cret@p"})
		_, err := transport.ProxyFromEnvironment()
		if err == nil || !strings.Contains(err.Error(), "ALL_PROXY") {
			t.Errorf("error %v", err)
		}
		keepsSecret(t, fmt.Sprint(err))
	})
	t.Run("HTTP_PROXY of a CGI program may be the client's", func(t *testing.T) {
		environment(t, []string{"HTTP_PROXY=http://evil", "REQUEST_METHOD=GET"})
		if _, err := transport.ProxyFromEnvironment("HTTP_PROXY"); err == nil || !strings.Contains(err.Error(), "CGI") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("this machine is reached directly", func(t *testing.T) {
		environment(t, []string{"ALL_PROXY=socks5://p"})
		p, err := transport.ProxyFromEnvironment()
		if err != nil {
			t.Fatal(err)
		}
		e, err := transport.SMTP(transport.TCP{Proxy: p}).Endpoint(&url.URL{Scheme: "smtp", Host: "127.0.0.1"})
		if err != nil || !e.Local {
			t.Errorf("endpoint %+v, %v", e, err)
		}
	})
	t.Run("nobody looks there unasked", func(t *testing.T) {
		environment(t, []string{"ALL_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"})
		conn, err := dial(t.Context(), transport.TCP{}, "smtp://127.0.0.1:"+greeter(t))
		greeted(t, conn, err)
	})
}

// environment sets the variables, and no others that matter.
func environment(t *testing.T, set []string) {
	for _, name := range []string{"all_proxy", "http_proxy", "https_proxy", "no_proxy", "smtp_proxy", "request_method"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToUpper(name), "")
	}
	for _, variable := range set {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}
