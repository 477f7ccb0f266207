package mechanisms

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/postrider/postrider/core"
)

// What a test that runs as root cannot have the operating system say.
func TestFile_unreadable(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		err   error
		class core.Class
	}{
		{"a file that may not be opened stays so", fs.ErrPermission, core.Local},
		{"any other failure may go by itself", errors.New("too many open files"), core.Temporary},
	} {
		err := File{Path: "x"}.unreadable(&fs.PathError{Op: "open", Path: "x", Err: tt.err})
		if core.ClassOf(err) != tt.class || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v is %v", tt.rule, err, core.ClassOf(err))
		}
	}
}
