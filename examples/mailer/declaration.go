package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/postrider/postrider/plugins"
)

// pinned is what stands between path and checksum, in the form of one word.
const pinned = "@sha256:"

// addPlugin reads a plugin in the form of one word: PATH, or PATH@sha256:CHECKSUM.
func (s *settings) addPlugin(text string) error {
	d := plugins.Declaration{Config: plugins.Config{Path: text}}
	if at := strings.LastIndex(text, pinned); at >= 0 {
		d.Path, d.SHA256 = text[:at], text[at+len(pinned):]
		if d.SHA256 == "" {
			return fmt.Errorf("there is no checksum behind %q", pinned)
		}
	}
	return s.declare(d)
}

func (s *settings) declare(d plugins.Declaration) error {
	if err := d.Check(); err != nil {
		return inWords(err)
	}
	s.plugins = append(s.plugins, d)
	return nil
}

// readPlugins reads the list of the configuration file: each is a word as for a
// flag, or an object as plugins.Declaration has it.
func (s *settings) readPlugins(value json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil || list == nil {
		return errors.New("use a list")
	}
	for n, item := range list {
		if err := s.readPlugin(item); err != nil {
			return fmt.Errorf("entry %d: %w", n+1, err)
		}
	}
	return nil
}

func (s *settings) readPlugin(item json.RawMessage) error {
	switch item[0] {
	case '"':
		text, err := scalar(item)
		if err != nil {
			return err
		}
		return s.addPlugin(text)
	case '{':
		var d plugins.Declaration
		if err := json.Unmarshal(item, &d); err != nil {
			return inWords(err)
		}
		return s.declare(d)
	}
	return errors.New(`use an object such as {"path": "/usr/lib/mailer/corp-auth", "sha256": "..."}`)
}

// pluginConfig returns how a plugin is started. What it logs goes to w if that was
// asked for, and else nowhere.
func (s *settings) pluginConfig(d *plugins.Declaration, w io.Writer) plugins.Config {
	config := d.Config
	config.Log = slog.New(slog.DiscardHandler)
	if s.pluginLog {
		config.Log = slog.New(slog.NewTextHandler(w, nil))
	}
	return config
}
