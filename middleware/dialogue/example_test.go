package dialogue_test

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dialogue"
	"github.com/postrider/postrider/transport"
)

func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() { // a server that is busy
		if conn, err := l.Accept(); err == nil {
			fmt.Fprint(conn, "421 4.3.2 come back later\r\n")
			conn.Close()
		}
	}()
	show, _ := dialogue.New(dialogue.Config{Writer: os.Stdout})
	_, err = core.Dial(context.Background(), core.Config{
		Endpoint:     "smtp://" + l.Addr().String(),
		Transports:   transport.Standard(),
		Interceptors: []core.Interceptor{show},
	})
	fmt.Println(err)
	// Output:
	// S: 421 4.3.2 come back later
	// connect: no connection: the server is closing the connection: 421 4.3.2 come back later
}
