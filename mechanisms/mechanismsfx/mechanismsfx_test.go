package mechanismsfx_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"
	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/mechanisms/mechanismsfx"
	"github.com/postrider/postrider/transport/transportfx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNew(t *testing.T) {
	var want []string
	for _, m := range mechanisms.Password("ann", "secret") {
		want = append(want, m.Name())
	}
	for _, test := range []struct {
		credentials mechanismsfx.Credentials
		want        []string
		err         string
	}{
		{mechanismsfx.Credentials{}, nil, ""},
		{mechanismsfx.Credentials{User: "ann", Password: "secret"}, want, ""},
		{mechanismsfx.Credentials{Password: "secret"}, nil, "set User"},
		{mechanismsfx.Credentials{User: "ann"}, nil, "set Password"},
	} {
		list, err := mechanismsfx.New(mechanismsfx.Params{Credentials: test.credentials})
		var got []string
		for _, m := range list {
			got = append(got, m.Name())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: mechanisms %v, want %v", test.credentials, got, test.want)
		}
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%v: %v", test.credentials, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%v: error %v, want one with %q", test.credentials, err, test.err)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

// The module is of no consequence in an application without credentials.
func TestModuleWithoutCredentials(t *testing.T) {
	options := fx.Options(corefx.Module, transportfx.Module, mechanismsfx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1"}), fx.Invoke(func(*core.Client) {}))
	if err := fx.ValidateApp(options, fx.NopLogger); err != nil {
		t.Error(err)
	}
	fxtest.New(t, options).RequireStart().RequireStop()
}

// What the module adds is what collides with another PLAIN.
func TestModuleWithCredentials(t *testing.T) {
	err := fx.New(corefx.Module, transportfx.Module, mechanismsfx.Module, fx.NopLogger,
		fx.Supply(mechanismsfx.Credentials{User: "ann", Password: "secret"}, core.Config{Endpoint: "smtp://127.0.0.1"}),
		corefx.AsMechanism(func() core.Mechanism { return mechanisms.Plain("bob", "secret") }),
		fx.Invoke(func(*core.Client) {})).Err()
	if err == nil || !strings.Contains(err.Error(), `two mechanisms named "PLAIN"`) || !strings.Contains(err.Error(), "mechanismsfx.New at") {
		t.Errorf("error %v, want one that names both origins", err)
	}
}

func TestCredentialsAreRedacted(t *testing.T) {
	c := mechanismsfx.Credentials{User: "ann", Password: "correct horse"}
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T %[1]v"} {
		fmt.Fprintf(&b, verb+"\n", c)
		fmt.Fprintf(&b, verb+"\n", &c)
		fmt.Fprintf(&b, verb+"\n", struct{ C mechanismsfx.Credentials }{c})
	}
	slog.New(slog.NewJSONHandler(&b, nil)).Info("", "c", c)
	slog.New(slog.NewTextHandler(&b, nil)).Info("", "c", c)
	if err := json.NewEncoder(&b).Encode(c); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, secret := range []string{"horse", fmt.Sprintf("%x", "horse")} {
		if strings.Contains(out, secret) {
			t.Errorf("the password can be seen:\n%s", out)
		}
	}
	if !strings.Contains(out, `"ann" and a password`) {
		t.Errorf("the user cannot be seen:\n%s", out)
	}
	// They can still be read from a configuration file.
	var read mechanismsfx.Credentials
	if err := json.Unmarshal([]byte(`{"User":"ann","Password":"correct horse"}`), &read); err != nil || read != c {
		t.Errorf("read %q, %q, %v", read.User, read.Password, err)
	}
}

func Example() {
	app := fx.New(
		corefx.Module, transportfx.Module, mechanismsfx.Module,
		fx.Supply(
			core.Config{Endpoint: "smtps://mail.example.com"},
			mechanismsfx.Credentials{User: "ann", Password: "correct horse"},
		),
		fx.Invoke(func(_ *core.Client, c mechanismsfx.Credentials) { fmt.Println("the client has", c) }),
		fx.NopLogger,
	)
	fmt.Println("error:", app.Err())
	// Output:
	// the client has "ann" and a password
	// error: <nil>
}
