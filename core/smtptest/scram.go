package smtptest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

const (
	plusSuffix = "-PLUS"
	// scramSalt and scramIterations are those of all users.
	scramSalt       = "smtptest's salt"
	scramIterations = 4096
)

// scramHash returns the hash function of a variant of SCRAM, or nil for one that
// there is not.
func scramHash(name string) scram.HashGeneratorFcn {
	switch strings.TrimSuffix(name, plusSuffix) {
	case "SCRAM-SHA-1":
		return scram.SHA1
	case "SCRAM-SHA-256":
		return scram.SHA256
	case "SCRAM-SHA-512":
		return scram.SHA512
	}
	return nil
}

func (o *ServerOptions) checkSCRAM() error {
	if len(o.SCRAM) > 0 && len(o.Users) == 0 {
		return errors.New("ServerOptions.SCRAM is set without Users")
	}
	for i, name := range o.SCRAM {
		_, twice := o.Mechanisms[name]
		switch {
		case scramHash(name) == nil:
			return fmt.Errorf("ServerOptions.SCRAM has %q: there are SCRAM-SHA-1, SCRAM-SHA-256 and SCRAM-SHA-512, each with -PLUS and without", name)
		case twice || slices.Contains(o.SCRAM[:i], name):
			return fmt.Errorf("ServerOptions has %s twice", name)
		case !strings.HasSuffix(name, plusSuffix):
		case !o.StartTLS && !o.ImplicitTLS:
			return fmt.Errorf("ServerOptions.SCRAM has %s without StartTLS or ImplicitTLS", name)
		case o.TLS != nil && (len(o.TLS.Certificates) != 1 || o.TLS.GetCertificate != nil || o.TLS.GetConfigForClient != nil):
			return fmt.Errorf("ServerOptions.SCRAM has %s, for which TLS needs one certificate, in Certificates", name)
		}
	}
	return nil
}

// scram returns the server's side of one authentication by SCRAM, RFC 5802, on a
// connection with this state of TLS, or nil.
func (o *ServerOptions) scram(name string, state *tls.ConnectionState) AuthFunc {
	var conversation *scram.ServerConversation
	var user string
	return func(responses [][]byte) AuthStep {
		message := string(responses[len(responses)-1])
		switch {
		case len(responses) == 1 && responses[0] == nil:
			return AuthStep{}
		case conversation == nil:
			conversation = o.scramConversation(name, message, state, &user)
		case conversation.Done() && message == "": // RFC 4954 §4: it has read the signature
			return AuthStep{User: user}
		}
		answer, err := conversation.Step(message)
		switch {
		case err == nil && (conversation.AuthzID() == "" || conversation.AuthzID() == conversation.Username()):
			return AuthStep{Challenge: []byte(answer)}
		case err == nil, answer == scram.ErrUnknownUser, answer == scram.ErrInvalidProof:
			return AuthStep{Refusal: Reply("535 5.7.8 wrong user or password")}
		case answer == "":
			return AuthStep{Refusal: Reply("501 5.5.2 that is no message of SCRAM")}
		}
		return AuthStep{Refusal: Reply("535 5.7.8 " + strings.TrimPrefix(answer, "e="))}
	}
}

// scramConversation returns the library's side of it, which says who it is that
// authenticates, for a client's first message.
func (o *ServerOptions) scramConversation(name, first string, state *tls.ConnectionState, user *string) *scram.ServerConversation {
	hash := scramHash(name)
	server, _ := hash.NewServer(func(asked string) (scram.StoredCredentials, error) { // it never fails
		for known, password := range o.Users {
			if prepared, err := stringprep.SASLprep.Prepare(known); known != asked && (err != nil || prepared != asked) {
				continue
			}
			*user = known
			client, err := hash.NewClient("", password, "")
			if err != nil {
				return scram.StoredCredentials{}, err
			}
			return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: scramSalt, Iters: scramIterations})
		}
		return scram.StoredCredentials{}, errors.New("no such user")
	})
	// RFC 5802 §6: the flag of a client that is bound is "p", which goes with the
	// name with -PLUS. "y" is refused where that is offered.
	flag, _, _ := strings.Cut(first, ",")
	switch {
	case strings.HasSuffix(name, plusSuffix):
		return server.NewConversationWithChannelBindingRequired(o.binding(flag, state))
	case slices.Contains(o.SCRAM, name+plusSuffix) && !strings.HasPrefix(flag, "p="):
		return server.NewConversationWithChannelBinding(o.binding(flag, state))
	}
	return server.NewConversation()
}

// binding returns what a client is bound to that is connected to this server, or
// nothing if there is no such binding: of the type that the client's flag names,
// or else the usual one.
func (o *ServerOptions) binding(flag string, state *tls.ConnectionState) scram.ChannelBinding {
	if flag == "p="+string(scram.ChannelBindingTLSServerEndpoint) {
		leaf, err := x509.ParseCertificate(o.TLS.Certificates[0].Certificate[0])
		if err != nil {
			return scram.ChannelBinding{}
		}
		// The library looks for the certificate where a client has it.
		b, _ := scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
		return b
	}
	// RFC 9266 §2. The library's own passes no context instead of an empty one,
	// which TLS 1.2 tells apart (RFC 5705 §4).
	keys, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		return scram.ChannelBinding{}
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: keys}
}
