package corefx

import (
	"cmp"
	"fmt"
	"slices"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
)

// Interceptor is a [core.Interceptor] with its place in the pipeline: a member
// of the group that [AsInterceptor] adds to.
type Interceptor struct {
	core.Interceptor
	// Stage is its place.
	Stage Stage
	// Origin names the constructor that it comes from, for errors.
	Origin string
}

// AsInterceptor adds the interceptor that constructor returns to the pipeline.
//
// The constructor is a function that returns a core.Interceptor, and an error
// if it can fail. Its parameters come from the application.
func AsInterceptor(stage Stage, constructor any) fx.Option {
	from, err := inspect(constructor, "AsInterceptor", wanted[core.Interceptor]())
	if err != nil {
		return fx.Error(err)
	}
	if !stage.valid() {
		return fx.Error(fmt.Errorf("corefx.AsInterceptor(%s): %s does not exist: use Observe, Admit, Retry, Limit, Transform or Wire", from.origin, stage))
	}
	return provide(from, func(i core.Interceptor) Interceptor {
		return Interceptor{Interceptor: i, Stage: stage, Origin: from.origin}
	}, "postrider.interceptors")
}

// mergeInterceptors puts the group in order.
func mergeInterceptors(configured []core.Interceptor, group []Interceptor) ([]core.Interceptor, error) {
	if len(group) == 0 {
		return configured, nil
	}
	if len(configured) > 0 {
		first := slices.MinFunc(group, func(a, b Interceptor) int { return cmp.Compare(a.Name, b.Name) })
		return nil, fmt.Errorf("core.Config.Interceptors is set, so nothing can be put among them, but %s adds %q: add all of them with corefx.AsInterceptor", originOr(first.Origin), first.Name)
	}
	ordered := slices.SortedFunc(slices.Values(group), func(a, b Interceptor) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), compareSigns(a.Signs, b.Signs), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Origin, b.Origin))
	})
	origins := newOrigins("interceptors named", "")
	for _, i := range ordered {
		if i.Name == "" {
			return nil, fmt.Errorf("the interceptor of %s has no Name: give it one, it stands in errors and traces", originOr(i.Origin))
		}
		if !i.Stage.valid() {
			return nil, fmt.Errorf("interceptor %q of %s has no stage", i.Name, originOr(i.Origin))
		}
		if err := origins.add(i.Name, i.Origin); err != nil {
			return nil, err
		}
	}
	if err := checkSigned(ordered); err != nil {
		return nil, err
	}
	all := make([]core.Interceptor, len(ordered))
	for n, i := range ordered {
		all[n] = i.Interceptor
	}
	return all, nil
}

// compareSigns orders those that sign after those that do not.
func compareSigns(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// checkSigned refuses what the core would refuse too, but knows the stages.
func checkSigned(ordered []Interceptor) error {
	for n, i := range ordered {
		if i.Content == nil || i.Signs {
			continue
		}
		for _, before := range ordered[:n] {
			if before.Signs {
				return fmt.Errorf("interceptor %q (%s, from %s) changes content after %q (%s, from %s) has signed it: give it the signer's stage or an earlier one",
					i.Name, i.Stage, originOr(i.Origin), before.Name, before.Stage, originOr(before.Origin))
			}
		}
	}
	return nil
}
