// Command client drives the Transport through the client scenarios of the MCP
// conformance suite, which runs it as `client URL` with the scenario in
// MCP_CONFORMANCE_SCENARIO and its parameters in MCP_CONFORMANCE_CONTEXT.
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
)

// parameters is what the suite tells about a scenario.
type parameters struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Issuer       string `json:"issuer"`
	PrivateKey   string `json:"private_key_pem"`
	IdPClientID  string `json:"idp_client_id"`
	IdPIDToken   string `json:"idp_id_token"`
	IdPIssuer    string `json:"idp_issuer"`
	WorkloadJWT  string `json:"valid_jwt"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client URL   (run by the conformance suite)")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 18*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run connects, lists the tools and calls one.
func run(ctx context.Context, url string) error {
	flow, err := flowFor(os.Getenv("MCP_CONFORMANCE_SCENARIO"), os.Getenv("MCP_CONFORMANCE_CONTEXT"))
	if err != nil {
		return err
	}
	transport := &doorward.Transport{
		Flow:   flow,
		Legacy: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "doorward-conformance", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:   url,
		HTTPClient: &http.Client{Transport: transport},
	}, nil)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer session.Close()
	if _, err := session.ListTools(ctx, nil); err != nil {
		return fmt.Errorf("tools/list: %w", err)
	}
	if _, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "test-tool", Arguments: map[string]any{}}); err != nil {
		return fmt.Errorf("tools/call: %w", err)
	}
	return nil
}

// flowFor picks the Flow that a scenario is about.
func flowFor(scenario, raw string) (doorward.Flow, error) {
	var p parameters
	if raw != "" {
		if err := json.Unmarshal([]byte(raw), &p); err != nil {
			return nil, fmt.Errorf("MCP_CONFORMANCE_CONTEXT: %w", err)
		}
	}
	own := doorward.Credentials{Issuer: p.Issuer, ID: p.ClientID, Secret: p.ClientSecret}
	switch scenario {
	case "auth/client-credentials-basic":
		return &doorward.ClientCredentials{Client: own}, nil
	case "auth/client-credentials-jwt":
		key, err := signer(p.PrivateKey)
		own.Key = key
		return &doorward.ClientCredentials{Client: own}, err
	case "auth/enterprise-managed-authorization":
		return &doorward.CrossApp{
			IdP:    doorward.Credentials{Issuer: p.IdPIssuer, ID: p.IdPClientID},
			Server: own,
			Subject: func(context.Context) (doorward.Subject, error) {
				return doorward.Subject{Person: "conformance", Token: p.IdPIDToken}, nil
			},
		}, nil
	case "auth/wif-jwt-bearer":
		return &doorward.Workload{
			Client:    own,
			Assertion: func(context.Context, string) (string, error) { return p.WorkloadJWT, nil },
		}, nil
	}
	return &doorward.AuthorizationCode{
		Client:              own,
		ClientIDMetadataURL: "https://conformance-test.local/client-metadata.json",
		Open:                visit,
	}, nil
}

// visit does what a browser would do where nobody has to be asked: it follows
// the redirect to the listener.
func visit(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func signer(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("private_key_pem is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("private_key_pem is no signing key")
	}
	return s, nil
}
