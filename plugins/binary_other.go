//go:build !unix

package plugins

import "io/fs"

// writable is for modes that mean something.
func writable(fs.FileInfo) bool { return false }

func closed(fs.FileInfo) bool { return true }

func owned(string, fs.FileInfo) error { return nil }
