// Coraza in a plain reverse proxy of Go's standard library.
// Usage: proxy LISTEN UPSTREAM DIRECTIVES
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

	"github.com/corazawaf/coraza/v3"

	"extproc.dev/bench/coraza/inspect"
)

const idleConnections = 256

func guard(waf coraza.WAF, next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		headers := make([]inspect.Header, 0, len(r.Header))
		for name, values := range r.Header {
			for _, value := range values {
				headers = append(headers, inspect.Header{Name: name, Value: value})
			}
		}
		tx, blocked := inspect.Head(waf, r.Method, r.RequestURI, r.Host, headers)
		defer inspect.End(tx)
		if blocked == 0 {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				blocked, err = inspect.Body(tx, body)
			}
			if err != nil {
				http.Error(w, "bad request", http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		if blocked != 0 {
			w.WriteHeader(blocked)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func main() {
	upstream, err := url.Parse("http://" + os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	waf, err := inspect.Load(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idleConnections // the default of two would close most connections after use
	proxy.Transport = transport
	log.Fatal(http.ListenAndServe(os.Args[1], guard(waf, proxy)))
}
