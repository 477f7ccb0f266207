package corefx

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
)

// Transport is a [core.Transport] and where it comes from: a member of the group
// that [AsTransport] adds to.
type Transport struct {
	core.Transport
	// Origin names the constructor that it comes from, for errors.
	Origin string
}

// AsTransport adds a transport to those that an endpoint's URL may choose.
//
// The constructor is a function that returns a core.Transport, a type that
// implements it, or a []core.Transport, which may be empty; and an error if it
// can fail. Its parameters come from the application.
func AsTransport(constructor any) fx.Option {
	from, err := inspect(constructor, "AsTransport", wanted[core.Transport](), wanted[[]core.Transport]())
	if err != nil {
		return fx.Error(err)
	}
	return provideOneOrMore(from, func(t core.Transport) Transport { return Transport{t, from.origin} }, "postrider.transports")
}

func (t Transport) origin() string { return originOr(t.Origin) }

// mergeTransports adds the group's transports to those of the configuration.
func mergeTransports(configured []core.Transport, group []Transport) ([]core.Transport, error) {
	origins := newOrigins("transports for the scheme", "core.Config.Transports")
	for _, t := range configured {
		if t != nil { // a nil one is the core's to refuse
			if err := origins.add(t.Scheme(), ""); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range group {
		if t.Transport == nil {
			return nil, fmt.Errorf("%s returned a transport that is nil", t.origin())
		}
	}
	ordered := slices.SortedFunc(slices.Values(group), func(a, b Transport) int {
		return cmp.Or(cmp.Compare(a.Scheme(), b.Scheme()), cmp.Compare(a.Origin, b.Origin))
	})
	all := configured[:len(configured):len(configured)]
	for _, t := range ordered {
		if err := origins.add(t.Scheme(), t.Origin); err != nil {
			return nil, err
		}
		all = append(all, t.Transport)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no transport: add transportfx.Module to the application, or your own with corefx.AsTransport")
	}
	return all, nil
}
