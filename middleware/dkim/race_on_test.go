//go:build race

package dkim_test

// raceEnabled says that the race detector, and with it everything, is slow.
const raceEnabled = true
