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
	"github.com/postrider/postrider/core/smtptest"
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

// assembled returns the mechanisms of a client, as its error names them.
func assembled(t *testing.T, options ...fx.Option) string {
	t.Helper()
	var client *core.Client
	server := smtptest.NewServer(t, smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{
		"X-NOBODY-HAS": func([][]byte) smtptest.AuthStep { return smtptest.AuthStep{} },
	}})
	app := fx.New(append(options, corefx.Module, fx.NopLogger, fx.Supply(server.Config()), fx.Populate(&client))...)
	if err := app.Err(); err != nil {
		return err.Error()
	}
	defer client.Close()
	if err := client.Connect(t.Context()); err != nil {
		return err.Error()
	}
	return "no mechanism"
}

func TestWhatIsProvided(t *testing.T) {
	source := mechanisms.Static("ann", "secret")
	tokens := mechanismsfx.Tokens{User: "ann", Source: mechanisms.StaticToken("secret")}
	credentials := mechanismsfx.Credentials{User: "ann", Password: "secret"}
	none := mechanismsfx.Credentials{}
	const all = "none will do of SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN;"
	for rule, tt := range map[string]struct {
		options fx.Option
		want    string
	}{
		"a source":                       {fx.Options(mechanismsfx.Module, fx.Supply(source)), all},
		"a source and no credentials":    {fx.Options(mechanismsfx.Module, fx.Supply(source, none)), all},
		"tokens":                         {fx.Options(mechanismsfx.Module, fx.Supply(tokens)), "none will do of OAUTHBEARER XOAUTH2;"},
		"tokens without a source":        {fx.Options(mechanismsfx.Module, fx.Supply(mechanismsfx.Tokens{User: "ann"})), "set Source"},
		"nothing":                        {mechanismsfx.Module, "no mechanism"},
		"both":                           {fx.Options(mechanismsfx.Module, fx.Supply(source, credentials)), "provide one of them"},
		"only one":                       {fx.Options(mechanismsfx.Only(mechanisms.SCRAMSHA1), fx.Supply(source)), "none will do of SCRAM-SHA-1;"},
		"only one, without anything":     {mechanismsfx.Only(mechanisms.SCRAMSHA1), "provide mechanismsfx.Credentials"},
		"two":                            {fx.Options(mechanismsfx.Only(mechanisms.Plain), mechanismsfx.Only(mechanisms.SCRAMSHA1), fx.Supply(credentials)), "none will do of SCRAM-SHA-1 PLAIN;"},
		"one twice":                      {fx.Options(mechanismsfx.Module, mechanismsfx.Only(mechanisms.Plain), fx.Supply(credentials)), `two mechanisms named "PLAIN"`},
		"one whose credentials are half": {fx.Options(mechanismsfx.Only(mechanisms.Plain), fx.Supply(mechanismsfx.Credentials{User: "ann"})), "set Password"},
	} {
		if got := assembled(t, tt.options); !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s", rule, got)
		}
	}
}
