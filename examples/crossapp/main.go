// Command crossapp calls an MCP server for a person whose ID token it has.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"doorward"
)

func main() {
	client := &http.Client{Transport: &doorward.Transport{Flow: &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: os.Getenv("IDP_ISSUER"), ID: os.Getenv("IDP_CLIENT_ID"), Secret: os.Getenv("IDP_CLIENT_SECRET")},
		Server: doorward.Credentials{ID: os.Getenv("CLIENT_ID"), Secret: os.Getenv("CLIENT_SECRET")}, // its issuer is found from the MCP server
		Subject: func(context.Context) (doorward.Subject, error) {
			return doorward.Subject{Person: os.Getenv("PERSON"), Token: os.Getenv("ID_TOKEN")}, nil
		},
	}}}
	req, _ := http.NewRequest("POST", os.Getenv("MCP_URL"), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := client.Do(req)
	if err != nil {
		log.Fatal(err) // says which step broke, and who can mend it
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}
