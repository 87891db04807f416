// Package inspect runs one request through Coraza: phases 1, 2 and 5, as the other peers of the bench do.
package inspect

import (
	"fmt"
	"os"
	"strings"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"
)

// Header is one header line; names in any case.
type Header struct{ Name, Value string }

// Load reads a file of SecLang directives, Include among them.
func Load(path string) (coraza.WAF, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return coraza.NewWAF(coraza.NewWAFConfig().WithDirectives(string(text)))
}

// Head starts a transaction and runs phase 1. It returns the status of a block, 0 for none.
func Head(waf coraza.WAF, method, target, host string, headers []Header) (types.Transaction, int) {
	tx := waf.NewTransaction()
	tx.ProcessConnection("127.0.0.1", 40000, "127.0.0.1", 80)
	tx.ProcessURI(target, method, "HTTP/1.1")
	if host != "" {
		tx.AddRequestHeader("Host", host)
		tx.SetServerName(host)
	}
	for _, header := range headers {
		if !strings.HasPrefix(header.Name, ":") {
			tx.AddRequestHeader(header.Name, header.Value)
		}
	}
	return tx, status(tx.ProcessRequestHeaders())
}

// Body hands over the whole body and runs phase 2. It returns the status of a block, 0 for none.
func Body(tx types.Transaction, body []byte) (int, error) {
	if len(body) > 0 {
		stopped, _, err := tx.WriteRequestBody(body)
		if err != nil {
			return 0, fmt.Errorf("body: %w", err)
		}
		if stopped != nil {
			return status(stopped), nil
		}
	}
	stopped, err := tx.ProcessRequestBody()
	if err != nil {
		return 0, fmt.Errorf("body: %w", err)
	}
	return status(stopped), nil
}

// End runs phase 5 and gives the transaction back.
func End(tx types.Transaction) {
	tx.ProcessLogging()
	_ = tx.Close()
}

func status(stopped *types.Interruption) int {
	if stopped == nil {
		return 0
	}
	if stopped.Status == 0 {
		return 403
	}
	return stopped.Status
}
