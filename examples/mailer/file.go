package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// readFile reads what is not set otherwise from the file of the setting
// "config": a JSON object (RFC 8259) with the names that the flags have. A
// setting that may be given more than once is a list there.
func (s *settings) readFile(table []setting) error {
	data, err := readWhole(s.config)
	if err != nil {
		return s.fileError("it cannot be read: %w", err)
	}
	var values map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(data))
	err = decoder.Decode(&values)
	switch _, ok := errors.AsType[*json.UnmarshalTypeError](err); {
	case ok, err == nil && values == nil:
		return s.fileError("it is not a JSON object: write it as {\"url\": \"smtp://host:587\"}")
	case err != nil:
		return s.fileError("it is not a JSON object: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return s.fileError("there is something behind the JSON object: take it out")
	}
	known := map[string]bool{"config": true}
	var names []string
	for _, one := range table {
		if one.name == "config" {
			continue
		}
		known[one.name], names = true, append(names, one.name)
		value, ok := values[one.name]
		if !ok || s.taken(one, fromFile) {
			continue
		}
		s.given[one.name] = fromFile
		if err := s.readValue(one, value); err != nil {
			return s.fileError("%q: %w", one.name, err)
		}
	}
	for name := range values {
		switch {
		case name == "config":
			return s.fileError("it names another file: it cannot")
		case !known[name]:
			return s.fileError("there is no setting %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	if s.given["url"] == fromFile && s.given["endpoints"] == fromFile {
		return s.fileError("it has both url and endpoints: leave one of them")
	}
	return nil
}

// mostOctets is how large a file of a configuration may be.
const mostOctets = 16 << 20

// readWhole reads a file of a configuration, once: it may be a pipe.
func readWhole(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, mostOctets+1))
	if err == nil && len(data) > mostOctets {
		err = fmt.Errorf("%s has more than %d octets: name another file", name, mostOctets)
	}
	return data, err
}

func (s *settings) fileError(format string, args ...any) error {
	return misconfiguration("the configuration file %s: "+format, append([]any{s.config}, args...)...)
}

// readValue reads one value of the file.
func (s *settings) readValue(one setting, value json.RawMessage) error {
	switch one.name {
	case "interceptors":
		return s.readInterceptors(value)
	case "plugins":
		return s.readPlugins(value)
	}
	if !one.list || value[0] != '[' {
		text, err := scalar(value)
		if err != nil {
			return err
		}
		return one.set(text)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil {
		return err
	}
	for _, item := range list {
		text, err := scalar(item)
		if err != nil {
			return err
		}
		if err := one.set(text); err != nil {
			return err
		}
	}
	return nil
}

// scalar returns the text of a string, a number, true or false.
func scalar(value json.RawMessage) (string, error) {
	switch c := value[0]; {
	case c == '"':
		var text string
		err := json.Unmarshal(value, &text)
		return text, err
	case c == '[', c == '{', c == 'n':
		return "", errors.New("use a string, a number, true or false")
	}
	return string(value), nil
}
