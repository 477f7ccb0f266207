package wire_test

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/core/internal/wire"
)

func ExampleReader() {
	r := wire.NewReader(strings.NewReader("250-mx.example.com\r\n250 PIPELINING\r\n550 5.1.1 No such user\r\n"))
	for {
		reply, err := r.Reply()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d %v %q\n", reply.Code, reply.Enhanced(), reply.Text)
	}
	// Output:
	// 250 [0 0 0] "mx.example.com\nPIPELINING"
	// 550 [5 1 1] "5.1.1 No such user"
	// EOF
}

func ExampleGroup() {
	var g wire.Group

	g.Verb("MAIL FROM:<")
	g.Text("me@example.com")
	g.Text("> SIZE=")
	g.Int(1000)
	fmt.Println(g.End())

	g.Verb("RCPT TO:<")
	g.Text("you@example.net>\r\nRCPT TO:<evil@example.net")
	g.Text(">")
	fmt.Println(g.End())

	g.Verb("DATA")
	fmt.Println(g.End())

	fmt.Printf("%q\n", g.Bytes())
	// Output:
	// <nil>
	// CR, LF or NUL inside a command: octet 0x0d at offset 25
	// <nil>
	// "MAIL FROM:<me@example.com> SIZE=1000\r\nDATA\r\n"
}

func ExampleEncoder() {
	e := wire.Encoder{Dot: true}
	out := make([]byte, 0, 64)
	for _, part := range []string{"Subject: hello\r\n\r", "\n.hidden\nno line end"} {
		out, _, _ = e.Encode(out, []byte(part)) // there is room for all of it
	}
	out, _ = e.Finish(out)

	fmt.Printf("%q\n", out)
	fmt.Println(e.Size(), "octets of content")
	// Output:
	// "Subject: hello\r\n\r\n..hidden\r\nno line end\r\n.\r\n"
	// 40 octets of content
}
