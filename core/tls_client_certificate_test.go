package core_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestLoadClientCertificate(t *testing.T) {
	serverCA, clientCA := authority(t), authority(t)
	for kind, options := range tlsKinds {
		t.Run(kind, func(t *testing.T) {
			folder := t.TempDir()
			certificateFile, keyFile := filepath.Join(folder, "client.pem"), filepath.Join(folder, "key.pem")
			first, second := issue(t, clientCA, nil), issue(t, clientCA, nil)
			replaceFile(t, certificateFile, first.certificatePEM())
			replaceFile(t, keyFile, first.keyPEM(t))
			var reports []string
			get, err := core.LoadClientCertificate(certificateFile, keyFile, func(err error) { reports = append(reports, err.Error()) })
			if err != nil {
				t.Fatal(err)
			}
			// The server notes which certificate it is shown.
			var mu sync.Mutex
			var shown string
			options.TLS = issue(t, serverCA, nil).server()
			options.TLS.ClientAuth, options.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clientCA.pool()
			options.TLS.VerifyConnection = func(state tls.ConnectionState) error {
				mu.Lock()
				defer mu.Unlock()
				shown = state.PeerCertificates[0].Subject.CommonName
				return nil
			}
			server := smtptest.NewServer(t, options)
			shows := func(want *certified, reported ...string) {
				t.Helper()
				resumptions(t, server, 2, func(c *core.Config) { c.TLS = &tls.Config{RootCAs: serverCA.pool(), GetClientCertificate: get} })
				mu.Lock()
				defer mu.Unlock()
				if shown != want.certificate.Subject.CommonName {
					t.Errorf("the server was shown %q, want %q", shown, want.certificate.Subject.CommonName)
				}
				if len(reports) != len(reported) {
					t.Fatalf("reported %q, want %q", reports, reported)
				}
				for i := range reported {
					if !strings.Contains(reports[i], reported[i]) {
						t.Errorf("reported %q, want %q", reports[i], reported[i])
					}
				}
				reports = nil
			}
			shows(first)
			replaceFile(t, certificateFile, second.certificatePEM())
			shows(first, "does not match")
			shows(first) // once for each reason
			replaceFile(t, keyFile, second.keyPEM(t))
			shows(second)
			replaceFile(t, certificateFile, []byte("broken"))
			shows(second, "client.pem")
			if err := errors.Join(os.Remove(certificateFile), os.Remove(keyFile)); err != nil {
				t.Fatal(err)
			}
			shows(second, "no such file")
			replaceFile(t, certificateFile, append(first.certificatePEM(), first.keyPEM(t)...))
			shows(second, "key.pem")
			replaceFile(t, keyFile, first.keyPEM(t))
			shows(first)
			replaceFile(t, certificateFile, []byte("broken"))
			shows(first, "client.pem")
			replaceFile(t, certificateFile, first.certificatePEM())
			shows(first)
			replaceFile(t, certificateFile, []byte("broken"))
			shows(first, "client.pem") // again, since it was good in between

			_, _, err = tryTLS(t, options, options.TLS, trust(serverCA.pool()))
			if err == nil {
				t.Error("the server does without a certificate")
			}
		})
	}
	t.Run("what cannot be read at first", func(t *testing.T) {
		get, err := core.LoadClientCertificate("/nonexistent/client.pem", "/nonexistent/key.pem", nil)
		if get != nil || err == nil || !strings.Contains(err.Error(), "client certificate: ") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nobody need be told, and many may ask", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "both.pem")
		c := issue(t, nil, nil)
		replaceFile(t, file, append(c.certificatePEM(), c.keyPEM(t)...))
		get, err := core.LoadClientCertificate(file, file, nil)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if got, err := get(nil); err != nil || got == nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		replaceFile(t, file, []byte("broken"))
		all.Wait()
	})
}
