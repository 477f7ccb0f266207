package plugins

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	plugin "github.com/hashicorp/go-plugin"

	"github.com/postrider/postrider/plugins/proto"
)

// ErrHandshake is that what the program prints is not the handshake of a plugin.
var ErrHandshake = errors.New("it is no plugin of this kind")

// ErrVersion is that the plugin speaks another version of the protocol.
var ErrVersion = errors.New("it speaks another version of the protocol")

// checkHandshake checks the line by which a plugin says where it listens:
//
//	1|1|unix|/path/of/the/socket|grpc|certificate in base64
//
// Nothing of it is in an error, since it can be anything.
func checkHandshake(line, folder string) error {
	parts := strings.Split(line, "|")
	if len(parts) < 6 {
		return fmt.Errorf("%w: what it prints first is not a handshake", ErrHandshake)
	}
	if err := checkVersion("go-plugin", parts[0], plugin.CoreProtocolVersion); err != nil {
		return err
	}
	if err := checkVersion("Postrider", parts[1], proto.Version); err != nil {
		return err
	}
	if err := checkAddress(parts[2], parts[3], folder); err != nil {
		return err
	}
	if parts[4] != string(plugin.ProtocolGRPC) {
		return fmt.Errorf("%w: it does not serve gRPC", ErrHandshake)
	}
	if len(parts[5]) <= 50 { // what go-plugin takes for a certificate
		return fmt.Errorf("%w: it has no certificate, and would not be reached over TLS", ErrHandshake)
	}
	return nil
}

func checkVersion(of, text string, want int) error {
	have, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return fmt.Errorf("%w: what it prints first is not a handshake", ErrHandshake)
	case have != want:
		return fmt.Errorf("%w: version %d of %s's, and this host speaks %d", ErrVersion, have, of, want)
	}
	return nil
}

// checkAddress refuses an address that is not the plugin's own to choose: the host
// would connect to whatever it is.
func checkAddress(network, address, folder string) error {
	if runtime.GOOS == "windows" && network == "tcp" {
		if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host).IsLoopback() {
			return nil
		}
	}
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != folder {
		return fmt.Errorf("%w: it does not listen in the folder that it was given", ErrHandshake)
	}
	return nil
}
