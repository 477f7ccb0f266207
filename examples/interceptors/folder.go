package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// folder keeps messages as pairs of files: NAME.eml has the content, NAME.json
// the envelope. The journal and the capture both write to one.
type folder string

// envelope is who sent a message, and to whom. It is never in the content.
type envelope struct {
	From string   `json:"from"`
	To   []string `json:"to"`
}

// keep writes a message, as a stream, and returns its name: the path of both
// files without their ends. NAME.eml gets that name last, so that whoever looks
// for *.eml finds whole messages. Only this user can read them.
func (f folder) keep(e envelope, content io.Reader) (name string, err error) {
	part, err := os.CreateTemp(string(f), time.Now().UTC().Format("20060102-150405.000000000-*.part"))
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(part.Name(), ".part")
	defer func() {
		if err != nil {
			err = errors.Join(err, f.remove(path))
		}
	}()
	_, err = io.Copy(part, content)
	if err == nil {
		err = part.Sync()
	}
	if err := errors.Join(err, part.Close()); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".json", append(text, '\n'), 0o600); err != nil {
		return "", err
	}
	if err := os.Rename(part.Name(), path+".eml"); err != nil {
		return "", err
	}
	return path, nil
}

// remove removes what keep has written.
func (folder) remove(name string) error {
	var errs []error
	for _, end := range []string{".part", ".eml", ".json"} {
		if err := os.Remove(name + end); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// kept is a message in a folder.
type kept struct {
	envelope
	content string
}

// read returns the messages in a folder, in the order of their names: that of
// time.
func (f folder) read() (list []kept, err error) {
	names, err := filepath.Glob(filepath.Join(string(f), "*.eml"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(strings.TrimSuffix(name, ".eml") + ".json")
		if err != nil {
			return nil, err
		}
		m := kept{content: string(content)}
		if err := json.Unmarshal(text, &m.envelope); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}
