// Command httpclient reads an HTTP API that is protected by OAuth and says so in
// the standard way (a 401 with a challenge, RFC 9728 metadata): nothing in it is
// about MCP. With a client secret it acts for itself, without one for the person
// at the browser.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"doorward"
)

func main() {
	var flow doorward.Flow = &doorward.AuthorizationCode{ClientName: "httpclient", Open: show}
	if secret := os.Getenv("CLIENT_SECRET"); secret != "" {
		flow = &doorward.ClientCredentials{Client: doorward.Credentials{Issuer: os.Getenv("ISSUER"), ID: os.Getenv("CLIENT_ID"), Secret: secret}}
	}
	client := &http.Client{Transport: &doorward.Transport{Flow: flow}} // for all goroutines, and for as many APIs as you like
	text, err := get(client, os.Getenv("API_URL"))
	if err != nil {
		log.Fatal(err) // says which step broke, and who can mend it
	}
	fmt.Println(text)
}

// get is what any program does with an http.Client.
func get(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

func show(_ context.Context, url string) error {
	_, err := fmt.Fprintln(os.Stderr, "Open this address to sign in:", url)
	return err
}
