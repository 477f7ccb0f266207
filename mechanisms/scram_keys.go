package mechanisms

import (
	"errors"
	"fmt"
	"sync"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// maxKeys is how many keys a mechanism remembers: one for each salt. A server
// has one for a user; a few servers may share him.
const maxKeys = 16

// scramKeys has the library's client for one user, which remembers every key that
// it ever derived. A server that makes a new salt each time would fill the
// memory: the client is replaced before it has more than maxKeys.
type scramKeys struct {
	newClient func() *scram.Client

	mu      sync.Mutex
	client  *scram.Client
	derived map[scram.KeyFactors]struct{}
}

func (s SCRAM) newKeys(user, password string) (*scramKeys, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	user, userErr := prepare(queryStrings(), "user name", user)
	// RFC 5802 §2.2: the password is a stored string.
	password, passwordErr := prepare(stringprep.SASLprep, "password", password)
	var identity string
	var identityErr error
	if s.Identity != "" {
		identity, identityErr = prepare(queryStrings(), "identity", s.Identity)
	}
	if err := errors.Join(userErr, passwordErr, identityErr); err != nil {
		return nil, err
	}
	newClient := func() *scram.Client {
		client, _ := s.Hash.generator().NewClientUnprepped(user, password, identity) // it never fails
		return client.WithMinIterations(s.MinIterations)
	}
	return &scramKeys{newClient: newClient, client: newClient(), derived: map[scram.KeyFactors]struct{}{}}, nil
}

func (k *scramKeys) current() *scram.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.client
}

// derives is told of a key before it is derived.
func (k *scramKeys) derives(factors scram.KeyFactors) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.derived[factors]; !ok && len(k.derived) == maxKeys {
		k.client = k.newClient()
		clear(k.derived)
	}
	k.derived[factors] = struct{}{}
}

// queryStrings is SASLprep for names: characters that Unicode 3.2 does not have
// are allowed in them (RFC 5802 §5.1, RFC 3454 §7).
func queryStrings() stringprep.Profile {
	profile := stringprep.SASLprep
	profile.Prohibits = []stringprep.Set{ // RFC 4013 §2.3
		stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4,
		stringprep.TableC5, stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
	}
	return profile
}

// prepare returns a string in its prepared form. The error of the library is not
// repeated: it shows a character of the password.
func prepare(profile stringprep.Profile, what, s string) (string, error) {
	prepared, err := profile.Prepare(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("SASLprep refuses the %s (RFC 4013 §2): it is not UTF-8, or holds a control character or a character that is unknown to Unicode 3.2, or mixes directions of writing", what)
	case prepared == "":
		return "", fmt.Errorf("the %s is empty", what)
	}
	return prepared, nil
}
