package corefx

import (
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"go.uber.org/fx"
)

// constructor is a function that a user adds to a group.
type constructor struct {
	fn     any
	as     string       // the function of this package that took it
	origin string       // its name and place
	result reflect.Type // its first result
}

// wanted is short for the type that a constructor may return.
func wanted[T any]() reflect.Type { return reflect.TypeFor[T]() }

// inspect refuses what is not a constructor of one of the wanted types, or of
// one that implements them.
func inspect(fn any, as string, types ...reflect.Type) (constructor, error) {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		hint := "wrap a value in a function that returns it"
		if v.IsValid() && v.Type().PkgPath() == "go.uber.org/fx" {
			hint = "give it the constructor itself; its parameters may be a struct with fx.In and tags"
		}
		return constructor{}, fmt.Errorf("corefx.%s needs a constructor, and %T is none: %s", as, fn, hint)
	}
	c := constructor{fn: fn, as: as, origin: originOf(v)}
	t := v.Type()
	fits := t.NumOut() == 1 || t.NumOut() == 2 && t.Out(1) == reflect.TypeFor[error]()
	if fits {
		c.result = t.Out(0)
		fits = false
		for _, w := range types {
			fits = fits || c.result == w || w.Kind() == reflect.Interface && c.result.Implements(w)
		}
	}
	if !fits {
		var names []string
		for _, w := range types {
			names = append(names, w.String())
		}
		return constructor{}, fmt.Errorf("corefx.%s(%s): the constructor is a %s: let it return %s, or that and an error", as, c.origin, t, strings.Join(names, " or "))
	}
	return c, nil
}

// member is the name under which a constructor's result is known to the module
// of its own that it is private to. So neither the result nor its name can get
// in the way of anything else.
const member = "postrider.member"

// provide has fx call the constructor, and put what wrap makes of its result
// into a group.
//
// The constructor is given to fx as it is, and so fx names it in its errors.
func provide[T, Member any](c constructor, wrap func(T) Member, group string) fx.Option {
	return fx.Module(fmt.Sprintf("corefx.%s(%s)", c.as, c.origin),
		fx.Provide(fx.Private, fx.Annotated{Name: member, Target: c.fn}),
		fx.Provide(fx.Annotated{Group: group, Target: taking(c.result, wrap)}),
	)
}

// taking returns wrap as a function that fx gives the member, which is of the
// type in: T, or one that implements it.
func taking[T, Member any](in reflect.Type, wrap func(T) Member) any {
	if in == reflect.TypeFor[T]() {
		type params struct {
			fx.In

			Member T `name:"postrider.member"`
		}
		return func(p params) Member { return wrap(p.Member) }
	}
	params := reflect.StructOf([]reflect.StructField{
		{Name: "In", Type: reflect.TypeFor[fx.In](), Anonymous: true},
		{Name: "Member", Type: in, Tag: `name:"` + member + `"`},
	})
	t := reflect.FuncOf([]reflect.Type{params}, []reflect.Type{reflect.TypeFor[Member]()}, false)
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		return []reflect.Value{reflect.ValueOf(wrap(args[0].Field(1).Interface().(T)))}
	}).Interface()
}

// provideOneOrMore is provide for a constructor that returns one T or a list.
func provideOneOrMore[T, Member any](c constructor, wrap func(T) Member, group string) fx.Option {
	if c.result != reflect.TypeFor[[]T]() {
		return provide(c, wrap, group)
	}
	return provide(c, func(list []T) []Member {
		members := make([]Member, len(list))
		for i, t := range list {
			members[i] = wrap(t)
		}
		return members
	}, group+",flatten")
}

// originOf names a function and where it is declared.
func originOf(fn reflect.Value) string {
	f := runtime.FuncForPC(fn.Pointer())
	if f == nil {
		return fn.Type().String()
	}
	name := f.Name()
	name = name[strings.LastIndexByte(name, '/')+1:]
	file, line := f.FileLine(fn.Pointer())
	return fmt.Sprintf("%s at %s:%d", name, filepath.Base(file), line)
}

func originOr(origin string) string {
	if origin == "" {
		return "an unnamed constructor"
	}
	return origin
}

// origins remembers who brought which name.
type origins struct {
	what     string
	standard string // the origin of those that have none
	of       map[string]string
}

func newOrigins(what, standard string) *origins {
	return &origins{what, standard, make(map[string]string)}
}

// add refuses a name that is there already.
func (o *origins) add(name, origin string) error {
	if origin == "" && o.standard != "" {
		origin = o.standard
	}
	origin = originOr(origin)
	other, taken := o.of[name]
	o.of[name] = origin
	switch {
	case !taken:
		return nil
	case other == origin:
		return fmt.Errorf("two %s %q, both from %s: leave one out", o.what, name, origin)
	}
	// fx's order is random, an error's is not.
	return fmt.Errorf("two %s %q, from %s and from %s: leave one out, or rename it", o.what, name, min(other, origin), max(other, origin))
}
