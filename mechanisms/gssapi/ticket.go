package gssapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/client"
	krb5 "github.com/jcmturner/gokrb5/v8/config"
	gss "github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postrider/postrider/core"
)

// request gets a ticket for a service and makes the token that shows it. The
// library knows no contexts, so that it works in a goroutine, which is left to
// itself if the context ends.
func (m *mechanism) request(ctx context.Context, spn string) (*initiator, []byte, error) {
	type result struct {
		i     *initiator
		token []byte
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			// The library panics on what is cut off: a credential cache that is
			// being written, say. Nobody else would catch it in this goroutine.
			if v := recover(); v != nil {
				r = result{err: &core.Error{Stage: core.StageAuth, Class: core.Temporary,
					Err:  fmt.Errorf("GSSAPI: %w", &core.PanicError{Where: "gokrb5", Value: v, Stack: debug.Stack()}),
					Hint: "check the files of Kerberos: one of them may be cut off"}}
			}
			done <- r
		}()
		r.i, r.token, r.err = m.show(spn)
	}()
	select {
	case r := <-done:
		return r.i, r.token, r.err
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("waiting for the KDC: %w", context.Cause(ctx))
	}
}

// show is request without a context.
func (m *mechanism) show(spn string) (*initiator, []byte, error) {
	conf, err := krb5.Load(cmp.Or(m.config.Krb5Conf, "/etc/krb5.conf"))
	if _, ok := errors.AsType[krb5.UnsupportedDirective](err); err != nil && !ok {
		return nil, nil, fmt.Errorf("reading the configuration of Kerberos: %w", err)
	}
	c, err := m.login(conf)
	if err != nil {
		return nil, nil, err
	}
	defer c.Destroy() // else the library goes on renewing the ticket
	ticket, key, err := c.GetServiceTicket(spn)
	if err != nil {
		return nil, nil, kerberosError(err, spn)
	}
	return newInitiator(c, ticket, key, m.config.Identity)
}

// newInitiator makes the first token: a ticket, and an authenticator that is
// encrypted with its session key (RFC 4121 §4.1).
func newInitiator(c *client.Client, ticket messages.Ticket, key types.EncryptionKey, identity string) (*initiator, []byte, error) {
	if aesKeySize(key.KeyType) == 0 {
		// RFC 4121 §1: older keys go with the tokens of RFC 1964.
		return nil, nil, &core.Error{Stage: core.StageAuth, Class: core.Permanent,
			Err:  fmt.Errorf("GSSAPI: the ticket has a session key of type %d, and that is not AES", key.KeyType),
			Hint: "have the KDC allow AES keys for the server's principal"}
	}
	// RFC 4752 §3.1: the server is to prove itself too.
	token, err := spnego.NewKRB5TokenAPREQ(c, ticket, key,
		[]int{gss.ContextFlagMutual, gss.ContextFlagSequence, gss.ContextFlagInteg}, []int{flags.APOptionMutualRequired})
	if err != nil {
		return nil, nil, fmt.Errorf("making the first token: %w", err)
	}
	// The library keeps what it has encrypted to itself.
	if err := token.APReq.DecryptAuthenticator(key); err != nil {
		return nil, nil, fmt.Errorf("reading the first token: %w", err)
	}
	octets, err := token.Marshal()
	if err != nil {
		return nil, nil, fmt.Errorf("making the first token: %w", err)
	}
	return &initiator{key: key, authenticator: token.APReq.Authenticator, identity: identity}, octets, nil
}

// aesKeySize returns how many octets a key has, or 0 for a type that is not AES.
// The library has a wrong size for the last one, where RFC 8009 §5 has 32.
func aesKeySize(keyType int32) int {
	switch keyType {
	case etypeID.AES128_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA256_128:
		return 16
	case etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES256_CTS_HMAC_SHA384_192:
		return 32
	}
	return 0
}

// kdcCode finds the code of a KRB-ERROR (RFC 4120 §7.5.9), which the library
// leaves only in the text of its errors.
var kdcCode = regexp.MustCompile(`KRB Error: \((\d+)\)`)

// kerberosError says what an error of the library means.
func kerberosError(err error, spn string) error {
	text := err.Error()
	if found := kdcCode.FindStringSubmatch(text); found != nil {
		code, _ := strconv.Atoi(found[1]) // too large a number is no known code
		return codeError(int32(code), err, spn)
	}
	e := &core.Error{Stage: core.StageAuth, Class: core.Local, Err: fmt.Errorf("GSSAPI: %w", err)}
	switch {
	case strings.Contains(text, krberror.NetworkingError):
		e.Class = core.Temporary
		e.Hint = "check that a KDC of the realm in krb5.conf can be reached"
	case strings.Contains(text, "matching key not found in keytab"):
		e.Hint = "the keytab has no key of this user, or none of the type that the KDC wants"
	case strings.Contains(text, krberror.DecryptingError):
		e.Class, e.Err = core.Permanent, credentialsError(err)
		e.Hint = "check the password or the keytab"
	case strings.Contains(text, krberror.KDCError): // with a code that is not known
		e.Class = core.Permanent
	case strings.Contains(text, "no valid existing session"):
		e.Hint = "the tickets in the credential cache have expired: call kinit"
	}
	return e
}

// codeError says what a KRB-ERROR means, by its code.
func codeError(code int32, err error, spn string) error {
	e := &core.Error{Stage: core.StageAuth, Class: core.Permanent, Err: fmt.Errorf("GSSAPI: %w", err)}
	switch code {
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_PREAUTH_FAILED:
		e.Err = credentialsError(err)
		e.Hint = "check the user, its realm, and the password or the keytab"
	case errorcode.KDC_ERR_CLIENT_REVOKED, errorcode.KDC_ERR_KEY_EXPIRED, errorcode.KDC_ERR_NAME_EXP:
		e.Err = credentialsError(err)
		e.Hint = "the account is locked, or the password has expired"
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN:
		e.Hint = fmt.Sprintf("the KDC does not know %s: set Config.SPN to the server's principal", spn)
	case errorcode.KRB_AP_ERR_SKEW:
		e.Class = core.Temporary
		e.Hint = "set the clocks: they differ by more than some minutes"
	case errorcode.KRB_AP_ERR_TKT_EXPIRED, errorcode.KDC_ERR_NEVER_VALID:
		e.Class = core.Local
		e.Hint = "the tickets in the credential cache have expired: call kinit"
	case errorcode.KDC_ERR_SVC_UNAVAILABLE:
		e.Class = core.Temporary
	}
	return e
}

func credentialsError(err error) error {
	return fmt.Errorf("GSSAPI: %w: %w: %w", core.ErrAuthentication, core.ErrCredentials, err)
}
