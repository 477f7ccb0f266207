// Package wire turns what package core has into what goes between a host and its
// plugins, and back.
package wire

import (
	"errors"
	"slices"
	"strings"

	"github.com/postrider/postrider/core"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// maxText is how much of a text in a failure is read, in octets.
const maxText = 1024

// kinds are the errors that a program may want to tell apart.
func kinds() []kindOf {
	return []kindOf{
		{pluginv1.Kind_KIND_TLS_REQUIRED, core.ErrTLSRequired},
		{pluginv1.Kind_KIND_NOT_SUPPORTED, core.ErrNotSupported},
		{pluginv1.Kind_KIND_CREDENTIALS, core.ErrCredentials},
		{pluginv1.Kind_KIND_MECHANISM_REFUSED, core.ErrMechanismRefused},
		{pluginv1.Kind_KIND_PROTOCOL, core.ErrProtocol},
	}
}

type kindOf struct {
	kind pluginv1.Kind
	is   error
}

// Failure returns an error as it travels. Of an error that is a [*core.Error] the
// stage is not told: it is the caller's.
func Failure(err error) *pluginv1.Failure {
	if err == nil {
		return nil
	}
	text, hint := err.Error(), ""
	if e, ok := err.(*core.Error); ok {
		text, hint = "", e.Hint
		if e.Err != nil {
			text = e.Err.Error()
		}
	}
	f := &pluginv1.Failure{Class: class(core.ClassOf(err)), Text: bounded(text), Hint: bounded(hint)}
	for _, k := range kinds() {
		if errors.Is(err, k.is) {
			f.Kinds = append(f.Kinds, k.kind)
		}
	}
	return f
}

func class(c core.Class) pluginv1.Class {
	switch c {
	case core.Temporary:
		return pluginv1.Class_CLASS_TEMPORARY
	case core.Permanent:
		return pluginv1.Class_CLASS_PERMANENT
	}
	return pluginv1.Class_CLASS_LOCAL
}

// Class returns what a failure means for another try.
func Class(f *pluginv1.Failure) core.Class {
	switch f.GetClass() {
	case pluginv1.Class_CLASS_TEMPORARY:
		return core.Temporary
	case pluginv1.Class_CLASS_PERMANENT:
		return core.Permanent
	}
	return core.Local
}

// Err returns the cause that a failure tells, without its class and hint. It is
// nil if the failure has neither text nor kind.
func Err(f *pluginv1.Failure) error {
	e := &remoteError{text: bounded(f.GetText())}
	for _, k := range kinds() {
		if slices.Contains(f.GetKinds(), k.kind) {
			e.kinds = append(e.kinds, k.is)
		}
	}
	switch {
	case e.text != "":
	case len(e.kinds) == 0:
		return nil
	default:
		e.text = e.kinds[0].Error()
	}
	return e
}

// Hint returns what a failure says is to be done.
func Hint(f *pluginv1.Failure) string { return bounded(f.GetHint()) }

// remoteError is an error that came from the other side.
type remoteError struct {
	text  string
	kinds []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.kinds }

// bounded returns the begin of a text.
func bounded(text string) string { return cut(text, maxText) }

// cut returns so many octets of a text, and says if there were more.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD") // proto3 has no other strings
}
