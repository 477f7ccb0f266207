package wire

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// maxName is how long names and versions may be, in octets.
const maxName = 64

// Description is what a plugin says of itself, checked.
type Description struct {
	Name       string
	Version    string
	Mechanisms map[string]Mechanism
	Signers    map[string]crypto.PublicKey
	// Transports are the schemes, and Interceptors the names.
	Transports, Interceptors []string
}

// Mechanism is what a plugin says of a mechanism.
type Mechanism struct{ KeepsSecret, Checks, ChecksPeer bool }

// ReadDescription checks what a plugin says of itself.
func ReadDescription(r *pluginv1.DescribeResponse) (*Description, error) {
	d := &Description{
		Name: r.GetName(), Version: r.GetVersion(),
		Mechanisms: make(map[string]Mechanism), Signers: make(map[string]crypto.PublicKey),
	}
	if err := CheckName(d.Name); err != nil {
		return nil, fmt.Errorf("its name %.70q: %w", d.Name, err)
	}
	if len(d.Version) > maxName {
		return nil, fmt.Errorf("its version has %d octets, and %d are the most", len(d.Version), maxName)
	}
	for _, m := range r.GetMechanisms() {
		name := m.GetName()
		if err := CheckMechanismName(name); err != nil {
			return nil, fmt.Errorf("its mechanism %.70q: %w", name, err)
		}
		if _, ok := d.Mechanisms[name]; ok {
			return nil, fmt.Errorf("two of its mechanisms are named %s", name)
		}
		d.Mechanisms[name] = Mechanism{m.GetKeepsSecret(), m.GetChecks(), m.GetChecksPeer()}
	}
	for _, s := range r.GetSigners() {
		id := s.GetId()
		if err := CheckName(id); err != nil {
			return nil, fmt.Errorf("its signer %.70q: %w", id, err)
		}
		if _, ok := d.Signers[id]; ok {
			return nil, fmt.Errorf("two of its signers are named %s", id)
		}
		key, err := x509.ParsePKIXPublicKey(s.GetPublicKey())
		if err != nil {
			return nil, fmt.Errorf("the public key of its signer %s cannot be read: %w", id, err)
		}
		d.Signers[id] = key
	}
	for _, t := range r.GetTransports() {
		d.Transports = append(d.Transports, t.GetScheme())
	}
	for _, i := range r.GetInterceptors() {
		d.Interceptors = append(d.Interceptors, i.GetName())
	}
	if err := errors.Join(checkNames("transport", d.Transports, CheckScheme), checkNames("interceptor", d.Interceptors, CheckName)); err != nil {
		return nil, err
	}
	if len(d.Mechanisms)+len(d.Signers)+len(d.Transports)+len(d.Interceptors) == 0 {
		return nil, errors.New("it has no mechanism, no signer, no transport and no interceptor")
	}
	return d, nil
}

// checkNames checks names and sorts them.
func checkNames(what string, names []string, check func(string) error) error {
	slices.Sort(names)
	for n, name := range names {
		if err := check(name); err != nil {
			return fmt.Errorf("its %s %.70q: %w", what, name, err)
		}
		if n > 0 && name == names[n-1] {
			return fmt.Errorf("two of its %ss are named %s", what, name)
		}
	}
	return nil
}

// Same returns how another process of the same plugin describes itself otherwise.
func (d *Description) Same(other *Description) error {
	switch {
	case d.Name != other.Name || d.Version != other.Version:
		return fmt.Errorf("it was %s %s, and calls itself %s %s now", d.Name, d.Version, other.Name, other.Version)
	case len(d.Mechanisms) != len(other.Mechanisms) || len(d.Signers) != len(other.Signers),
		!slices.Equal(d.Transports, other.Transports), !slices.Equal(d.Interceptors, other.Interceptors):
		return errors.New("it no longer has what it had")
	}
	for name, m := range d.Mechanisms {
		if now, ok := other.Mechanisms[name]; !ok || now != m {
			return fmt.Errorf("its mechanism %s is no longer what it was", name)
		}
	}
	for id, key := range d.Signers {
		if k, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(other.Signers[id]) {
			return fmt.Errorf("its signer %s no longer has the key that it had", id)
		}
	}
	return nil
}

// CheckScheme checks the scheme of a URL (RFC 3986 §3.1).
func CheckScheme(scheme string) error {
	outside := func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("+-.", r))
	}
	if scheme == "" || len(scheme) > maxName || scheme[0] < 'a' || scheme[0] > 'z' || strings.ContainsFunc(scheme, outside) {
		return fmt.Errorf("use 1 to %d lower-case letters, digits, plus signs, hyphens and dots, and a letter first (RFC 3986 §3.1)", maxName)
	}
	return nil
}

// CheckName checks the name of a plugin, of a key or of an interceptor.
func CheckName(name string) error {
	outside := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_", r))
	}
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, outside) {
		return fmt.Errorf("use 1 to %d letters, digits, dots, hyphens and underscores", maxName)
	}
	return nil
}

// CheckMechanismName checks the name of a mechanism (RFC 4422 §3.1).
func CheckMechanismName(name string) error {
	outside := func(r rune) bool {
		return !('A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}
	if name == "" || len(name) > 20 || strings.ContainsFunc(name, outside) {
		return fmt.Errorf("use 1 to 20 upper-case letters, digits, hyphens and underscores (RFC 4422 §3.1)")
	}
	return nil
}
