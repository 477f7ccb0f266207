package gssapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postrider/postrider/core"
)

// What a KDC says (RFC 4120 §7.5.9) tells whether another try can help.
func TestKDCErrors(t *testing.T) {
	for _, tt := range []struct {
		code        int32
		class       core.Class
		credentials bool // they are wrong
		hint        string
	}{
		{errorcode.KDC_ERR_PREAUTH_FAILED, core.Permanent, true, "password"},
		{errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, core.Permanent, true, "realm"},
		{errorcode.KDC_ERR_CLIENT_REVOKED, core.Permanent, true, "locked"},
		{errorcode.KDC_ERR_KEY_EXPIRED, core.Permanent, true, "expired"},
		{errorcode.KDC_ERR_NAME_EXP, core.Permanent, true, "expired"},
		{errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN, core.Permanent, false, "smtp/mail.example.test"},
		{errorcode.KDC_ERR_POLICY, core.Permanent, false, ""},
		{errorcode.KDC_ERR_SVC_UNAVAILABLE, core.Temporary, false, ""},
		{errorcode.KRB_AP_ERR_SKEW, core.Temporary, false, "clocks"},
		{errorcode.KRB_AP_ERR_TKT_EXPIRED, core.Local, false, "kinit"},
		{9999, core.Permanent, false, ""},
	} {
		t.Run(errorcode.Lookup(tt.code), func(t *testing.T) {
			said := messages.NewKRBError(types.PrincipalName{}, "EXAMPLE.TEST", tt.code, "said by the KDC")
			err := kerberosError(krberror.Errorf(said, krberror.KDCError, "AS Exchange Error"), "smtp/mail.example.test")
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != tt.class || !strings.Contains(e.Hint, tt.hint) || !strings.Contains(fmt.Sprint(err), "said by the KDC") {
				t.Errorf("got class %v, want %v: %v", core.ClassOf(err), tt.class, err)
			}
			if errors.Is(err, core.ErrCredentials) != tt.credentials || errors.Is(err, core.ErrAuthentication) != tt.credentials {
				t.Errorf("the kind is wrong: %v", err)
			}
		})
	}
}
