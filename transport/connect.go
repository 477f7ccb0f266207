package transport

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// maxConnectHeader bounds what a proxy may answer, in octets.
const maxConnectHeader = 16 << 10

// connect has an HTTP proxy connect to the address (RFC 9110 §9.3.6).
func (r *proxyRoute) connect(conn net.Conn, address string) error {
	if strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return fmt.Errorf("the address %q does not fit into a request", address)
	}
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	credentials := ""
	if r.user != "" {
		credentials = base64.StdEncoding.EncodeToString([]byte(r.user + ":" + r.password)) // RFC 7617 §2
		request += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return err
	}
	head := &connectHeader{conn: conn}
	for {
		code, reason, err := head.read()
		switch {
		case err != nil:
			return err
		case code < 200: // an interim response, RFC 9110 §15.2
			continue
		case code < 300:
			return nil
		}
		for _, secret := range []string{credentials, r.password} {
			if secret != "" && strings.Contains(reason, secret) {
				reason = ""
			}
		}
		return &refusal{strings.TrimSpace(fmt.Sprintf("it answers %d %s", code, reason)), r.connectHint(code)}
	}
}

// connectHint says what to do about a status.
func (r *proxyRoute) connectHint(code int) string {
	switch code {
	case 401, 407:
		return r.credentialsHint()
	case 403, 405:
		return "the proxy's rules are against it: many allow nothing but port 443, and have a list to add the mail server's port to"
	case 400, 404, 501:
		return "check the proxy's URL: what answers there may be no proxy"
	}
	return ""
}

// connectHeader reads the headers of responses octet by octet. What follows the
// last one belongs to the stream: read this way it stays in the socket, which can
// then be handed on as it is. It costs one system call for each of some hundred
// octets, once for each connection.
type connectHeader struct {
	conn net.Conn
	size int // octets read so far
}

// read reads one header.
func (h *connectHeader) read() (code int, reason string, err error) {
	line, err := h.line()
	if err != nil {
		return 0, "", err
	}
	protocol, rest, _ := strings.Cut(line, " ")
	number, reason, _ := strings.Cut(rest, " ")
	code, err = strconv.Atoi(number)
	if !strings.HasPrefix(protocol, "HTTP/1.") || err != nil || len(number) != 3 || code < 100 {
		return 0, "", &refusal{"what it answers is not HTTP", "check the proxy's URL: what listens there is no http proxy"}
	}
	for line != "" {
		if line, err = h.line(); err != nil {
			return 0, "", err
		}
	}
	return code, reason, nil
}

// line reads a line and returns it without its end.
func (h *connectHeader) line() (string, error) {
	var line []byte
	for {
		var octet [1]byte
		if _, err := io.ReadFull(h.conn, octet[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return "", &refusal{"it closed the connection", "check that what listens there is an http proxy, and that it lets this machine in"}
			}
			return "", err
		}
		if h.size++; h.size > maxConnectHeader {
			return "", &refusal{fmt.Sprintf("its answer has more than %d octets of header", maxConnectHeader), "check the proxy's URL: what listens there may be no proxy"}
		}
		if octet[0] == '\n' {
			return string(bytes.TrimSuffix(line, []byte("\r"))), nil
		}
		line = append(line, octet[0])
	}
}
