package corefx

import (
	"cmp"
	"fmt"
	"slices"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
)

// Mechanism is a [core.Mechanism] and where it comes from: a member of the group
// that [AsMechanism] adds to.
type Mechanism struct {
	core.Mechanism
	// Origin names the constructor that it comes from, for errors.
	Origin string
}

// AsMechanism adds a mechanism to those that the client may authenticate with.
//
// The constructor is a function that returns a core.Mechanism, a type that
// implements it, or a []core.Mechanism, which may be empty; and an error if it
// can fail. Its parameters come from the application.
//
// The client uses the first mechanism that the server offers and that may be
// used with it. Those in core.Config.Auth come first, in their order, then those
// that were added, in the order of [core.CompareStrength]: an application's own
// ones, by name, and then the known ones, the strongest first.
func AsMechanism(constructor any) fx.Option {
	from, err := inspect(constructor, "AsMechanism", wanted[core.Mechanism](), wanted[[]core.Mechanism]())
	if err != nil {
		return fx.Error(err)
	}
	return provideOneOrMore(from, func(m core.Mechanism) Mechanism { return Mechanism{m, from.origin} }, "postrider.mechanisms")
}

func (m Mechanism) origin() string { return originOr(m.Origin) }

// mergeMechanisms puts the group's mechanisms in order behind those of the
// configuration.
func mergeMechanisms(configured []core.Mechanism, group []Mechanism) ([]core.Mechanism, error) {
	origins := newOrigins("mechanisms named", "core.Config.Auth")
	for _, m := range configured {
		if m != nil { // a nil one is the core's to refuse
			if err := origins.add(m.Name(), ""); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range group {
		if m.Mechanism == nil {
			return nil, fmt.Errorf("%s returned a mechanism that is nil", m.origin())
		}
	}
	ordered := slices.SortedFunc(slices.Values(group), func(a, b Mechanism) int {
		return cmp.Or(core.CompareStrength(a.Name(), b.Name()), cmp.Compare(a.Origin, b.Origin))
	})
	all := configured[:len(configured):len(configured)]
	for _, m := range ordered {
		if err := origins.add(m.Name(), m.Origin); err != nil {
			return nil, err
		}
		all = append(all, m.Mechanism)
	}
	return all, nil
}
