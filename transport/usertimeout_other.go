//go:build !linux

package transport

import "errors"

const userTimeoutSupported = false

func setUserTimeout(uintptr, int) error { return errors.ErrUnsupported }
