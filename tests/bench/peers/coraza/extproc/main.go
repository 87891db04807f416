// Coraza in an ext_proc server: headers, then the buffered body, each answered with "go on" or a block.
// Usage: extproc ADDRESS DIRECTIVES
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"extproc.dev/bench/coraza/inspect"
)

type server struct {
	pb.UnimplementedExternalProcessorServer
	health.UnimplementedHealthServer
	waf coraza.WAF
}

func (s *server) Check(context.Context, *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

func (s *server) Process(stream pb.ExternalProcessor_ProcessServer) error {
	var tx types.Transaction
	defer func() {
		if tx != nil {
			inspect.End(tx)
		}
	}()
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &pb.ProcessingResponse{}
		blocked := 0
		switch part := message.Request.(type) {
		case *pb.ProcessingRequest_RequestHeaders:
			tx, blocked = s.head(part.RequestHeaders)
			if blocked == 0 && part.RequestHeaders.EndOfStream {
				blocked, err = inspect.Body(tx, nil)
			}
			answer.Response = &pb.ProcessingResponse_RequestHeaders{RequestHeaders: &pb.HeadersResponse{}}
		case *pb.ProcessingRequest_RequestBody:
			if tx == nil {
				return status.Error(codes.InvalidArgument, "body before headers")
			}
			blocked, err = inspect.Body(tx, part.RequestBody.Body)
			answer.Response = &pb.ProcessingResponse_RequestBody{RequestBody: &pb.BodyResponse{}}
		default:
			return status.Error(codes.Unimplemented, "headers and body of requests only")
		}
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if blocked != 0 {
			answer.Response = &pb.ProcessingResponse_ImmediateResponse{ImmediateResponse: &pb.ImmediateResponse{
				Status: &kind.HttpStatus{Code: kind.StatusCode(blocked)},
			}}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (s *server) head(part *pb.HttpHeaders) (types.Transaction, int) {
	var method, target, host string
	headers := make([]inspect.Header, 0, len(part.Headers.Headers))
	for _, header := range part.Headers.Headers {
		value := string(header.RawValue)
		switch header.Key {
		case ":method":
			method = value
		case ":path":
			target = value
		case ":authority":
			host = value
		default:
			headers = append(headers, inspect.Header{Name: header.Key, Value: value})
		}
	}
	return inspect.Head(s.waf, method, target, host, headers)
}

func main() {
	waf, err := inspect.Load(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	this := &server{waf: waf}
	pb.RegisterExternalProcessorServer(s, this)
	health.RegisterHealthServer(s, this)
	log.Fatal(s.Serve(listener))
}
