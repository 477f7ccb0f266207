package plugins

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// logPrinted logs what a process prints after its handshake, if it was built with
// go-plugin: that takes the place of its standard output and error, and holds the
// process up if nobody asks for what it has. A plugin that was not does not know
// the call.
func logPrinted(ctx context.Context, conn *grpc.ClientConn, lines *lineLog) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/plugin.GRPCStdio/StreamStdio")
	if err != nil || stream.SendMsg(&emptypb.Empty{}) != nil || stream.CloseSend() != nil {
		return
	}
	var copies sync.WaitGroup
	defer copies.Wait()
	var to [2]*io.PipeWriter
	for n, source := range []string{"stdout", "stderr"} {
		r, w := io.Pipe()
		to[n] = w
		copies.Go(func() { lines.copy(r, source) })
		defer func() { _ = w.Close() }()
	}
	for {
		// go-plugin's message StdioData, whose Go type is internal to it.
		var message emptypb.Empty
		if stream.RecvMsg(&message) != nil {
			return
		}
		channel, data := readPrinted(message.ProtoReflect().GetUnknown())
		if channel == 1 || channel == 2 {
			_, _ = to[channel-1].Write(data) // nobody closes the other end
		}
	}
}

// readPrinted reads a StdioData: an enum Channel channel = 1 that is STDOUT, 1, or
// STDERR, 2; and bytes data = 2.
func readPrinted(b []byte) (channel uint64, data []byte) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, nil
		}
		b = b[n:]
		switch {
		case number == 1 && kind == protowire.VarintType:
			channel, n = protowire.ConsumeVarint(b)
		case number == 2 && kind == protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return 0, nil
		}
		b = b[n:]
	}
	return channel, data
}
