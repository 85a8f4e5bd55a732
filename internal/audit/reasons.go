package audit

// ladders are the orders of steps, by grant type or kind of attempt. A step
// that is shown as ok was taken before the one that broke, always.
var ladders = []ladder{
	{signInLadder, "a sign-in for a client, in the browser", []string{"request", "client", "redirect_uri", "form", "pkce", "resource", "scopes",
		"approved", "browser", "signed_in", "person", "rules", "consent", "minted"}},
	{"authorization_code", "a token request with an authorization code", []string{"request", "client", "grant", "code", "code_client", "redirect_uri", "pkce",
		"resource", "single_use", "alive", "scopes", "person", "rules", "minted"}},
	{"refresh_token", "a token request with a refresh token", []string{"request", "client", "grant", "refresh", "code_client", "alive", "idle",
		"single_use", "resource", "scopes", "person", "rules", "minted"}},
	{"client_credentials", "a token request of a client for itself", []string{"request", "client", "grant", "resource", "scopes", "alive", "rules", "minted"}},
	{"urn:ietf:params:oauth:grant-type:jwt-bearer", "the redemption of an ID-JAG", []string{"request", "client", "grant", "assertion", "issuer", "client_kind",
		"signature", "claims", "audience", "client_id", "times", "features", "tenant", "account", "resource", "scopes", "single_use", "alive", "person", "rules", "minted"}},
	{"urn:ietf:params:oauth:grant-type:token-exchange", "the exchange of a sign-in for an ID-JAG", []string{"request", "client", "grant", "subject_token", "times",
		"subject_claims", "alive", "target", "client_there", "scopes", "person", "rules", "minted"}},
	{requestLadder, "a request to a guarded MCP server", []string{"token", "signature", "audience", "times", "alive", "body", "reach", "scopes", "tool",
		"session", "upstream"}},
}

// titles are the steps in words.
var titles = map[string]string{
	"request": "the request can be read", "client": "the client is known and proved it", "grant": "the client may use this grant",
	"redirect_uri": "the redirect URI is the client's", "form": "the request asks for something that exists", "pkce": "PKCE",
	"resource": "the resource exists and is meant", "scopes": "scopes are left", "approved": "the client is approved", "browser": "the browser is the one that began",
	"signed_in": "a person signed in", "person": "the person is still here", "rules": "a rule allows it", "consent": "the person consented", "minted": "the answer was made",
	"code": "the code is one of ours", "code_client": "it belongs to this client", "single_use": "it was not used before", "alive": "the grant behind it is alive",
	"refresh": "the refresh token is one of ours", "idle": "it was used lately enough",
	"assertion": "the assertion is a signed JWT", "issuer": "its issuer is trusted", "client_kind": "this kind of client may bring it",
	"signature": "key found, type and signature right", "claims": "the claims are there and of the right type", "audience": "it is addressed to here",
	"client_id": "it was made for this client", "times": "the times hold", "features": "nothing in it is beyond us", "tenant": "the tenant is allowed",
	"account":       "it names an account that may come",
	"subject_token": "the ID token is one of ours", "subject_claims": "the ID token is this client's", "target": "the audience and its resource are known",
	"client_there": "client and person have names there",
	"token":        "an access token came", "body": "the message can be read", "reach": "a rule lets them reach the server", "tool": "a rule lets them call the tool",
	"session": "the session is theirs", "upstream": "the MCP server answers",
	"server": "the server itself",
}

// cause is what a reason means: the step that it breaks, in words, who must
// act, and how.
type cause struct{ step, means, who, mend string }

const (
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer "
	exchange  = "urn:ietf:params:oauth:grant-type:token-exchange "
	code      = "authorization_code "
	guarded   = requestLadder + " "
	signIn    = signInLadder + " "
)

// causes is the one table of reasons. A key is a reason, or a ladder and a
// reason where the ladder makes a difference.
var causes = map[string]cause{
	// All ladders.
	"server_error": {"server", "The server could not do it; its log has the cause at this time.", Operator,
		"Read the log of the server; most often the disk or the database."},
	"temporarily_unavailable": {"server", "Too much came at once, or keys could not be had.", Operator, "Try again; if it stays, read the log of the server."},
	"invalid_request": {"request", "The request is not as the specification wants it; what was seen names the mistake.", Maker,
		"Change the program that sends it."},
	"unsupported_grant_type": {"request", "This grant does not exist here.", Maker, "Use a grant that the metadata lists (grant_types_supported)."},
	"client_unknown": {"client", "There is no client with this client_id here.", Maker,
		"Register the client again, or have the operator add it (clients.registered, doorward client add) and use exactly that client_id."},
	"client_authentication": {"client", "The client is known, but its secret or its way to authenticate is wrong.", Maker,
		"Compare the client secret and the method (client_secret_basic or client_secret_post) with the registration."},
	"client_assertion":    {"client", "The client came with an assertion, which is not taken here.", Maker, "Use a method that the metadata lists."},
	"invalid_client":      {"client", "The client is not known here, or what it proved itself with is wrong.", Maker, "Compare client id and secret with the registration."},
	"client_not_approved": {"client", "An administrator has not let this client in yet.", Operator, "doorward client approve CLIENT"},
	"client_document":     {"client", "The client's metadata document cannot be had or does not fit; what was seen says why.", Maker, "Serve the document at exactly the client_id, as the specification wants it."},
	"client_not_known":    {"client", "By policy (clients.others) only known clients may come.", Operator, "Add the client, or name it under clients.known."},
	"registration_off":    {"client", "Clients cannot register themselves here.", Operator, "Add the client (clients.registered, doorward client add)."},
	"registrations_full":  {"client", "As many clients have registered as may (clients.registration.total).", Operator, "Add the client by hand, or raise the number; unused ones end by themselves."},
	"unauthorized_client": {"grant", "The client is not registered for this grant.", Operator, "Add the grant to the client's grant_types, if it should have it."},
	"invalid_target":      {"resource", "The resource that was named does not exist here, or none was named and there are several.", Maker, "Send as resource what the server's metadata publishes, letter by letter."},
	"invalid_scope":       {"scopes", "Nothing is left of the scopes that were asked for.", Maker, "Ask for scopes that the resource's metadata lists and that the client is registered for."},
	"scope_withdrawn":     {"scopes", "What was granted once is no longer there.", Person, "Sign in again."},
	"denied_by_rule":      {"rules", "A deny rule matches.", Operator, "If they should get in, change the rule that is named; doorward can PERSON SERVER tries it."},
	"no_allow_rule":       {"rules", "No allow rule lets them.", Operator, "If they should get in, write an allow rule; doorward can PERSON SERVER tries it."},
	"needs_sign_in":       {"rules", "A rule would let them after a fresher or stronger sign-in.", Person, "Sign in again, as the rule requires."},
	"person_left":         {"person", "The person was marked as left.", Operator, "If they are back: doorward leave --undo PERSON."},
	"grant_over":          {"alive", "The grant ended: it expired, was revoked, or the person left.", Person, "Sign in again."},
	"provider_over":       {"alive", "The provider that the person signed in at does not stand by that any more.", Person, "Sign in again; if that fails, ask the provider's administrator."},
	"provider_down":       {"alive", "The provider that the person signed in at does not answer.", Operator, "Try again; if it stays, look whether the provider can be reached from here."},
	"grant_unknown":       {"alive", "There is no such grant any more: it expired or never was.", Person, "Sign in again."},

	// Codes and refresh tokens.
	"code_unknown":              {"code", "No such code: it was never made here, or is over (a code lives for 60 seconds).", Maker, "Redeem each code at once, at the issuer that made it."},
	"code_of_another_client":    {"code_client", "The code was made for another client.", Maker, "Redeem a code with the client_id that it was asked for with."},
	"redirect_uri_differs":      {"redirect_uri", "The code was sent to another redirect URI than the one named now.", Maker, "Send the same redirect_uri in both requests."},
	"wrong_verifier":            {"pkce", "code_verifier does not fit the code_challenge of the authorization request.", Maker, "Keep the verifier with the request that it was made for."},
	"pkce":                      {"pkce", "PKCE with S256 is required, and what came is not that.", Maker, "Send code_challenge with code_challenge_method=S256, and code_verifier with the code."},
	"code_used":                 {"single_use", "The code was redeemed before; its grant ended, since one of the two may be a thief.", Maker, "Redeem each code once; then sign in again."},
	code + "grant_unknown":      {"alive", "The grant of this code is gone.", Person, "Sign in again."},
	"refresh_unknown":           {"refresh", "This is no refresh token of this issuer.", Maker, "Keep the refresh token that came last, for this issuer."},
	"refresh_of_another_client": {"code_client", "The refresh token belongs to another client.", Maker, "Use a refresh token with the client that it was given to."},
	"refresh_idle":              {"idle", "The refresh token was not used for too long (tokens.refresh_idle).", Person, "Sign in again."},
	"refresh_reused":            {"single_use", "An older refresh token was used again; its grant ended, since one of the two holders may be a thief.", Maker, "Store each new refresh token before using it; then sign in again."},
	"resource_gone":             {"resource", "The server that this was for is no longer here.", Operator, "Put the server back, or tell people that it is gone."},
	"ended_too_often":           {"alive", "The tokens of this client were revoked too often today.", Operator, "Wait for tomorrow (UTC)."},

	// ID-JAGs redeemed.
	jwtBearer + "malformed":             {"assertion", "The assertion is not a signed JWT that can be read.", Maker, "Send the ID-JAG as it came from the identity provider."},
	jwtBearer + "own_issuer":            {"issuer", "The assertion was made here; an issuer does not honour its own.", Maker, "Ask the identity provider for an ID-JAG."},
	jwtBearer + "unknown_issuer":        {"issuer", "The issuer of the assertion is not trusted here.", Operator, "Add it under providers with id_jag, with exactly this issuer identifier."},
	jwtBearer + "public_client":         {"client_kind", "A client without a secret brought it, and the provider does not list it.", Operator, "Give the client a secret, or list it under id_jag.public_clients."},
	jwtBearer + "signature":             {"signature", "The key, the type or the signature of the assertion is wrong; what was seen says which.", IdPAdmin, "Publish the key that signs in the issuer's key set; the header typ must be oauth-id-jag+jwt."},
	jwtBearer + "claim_type":            {"claims", "A claim has the wrong type.", IdPAdmin, "Correct the claim that is named."},
	jwtBearer + "claim_missing":         {"claims", "A claim that must be there is missing or too long.", IdPAdmin, "Let the identity provider send the claim that is named."},
	jwtBearer + "wrong_audience":        {"audience", "The assertion is addressed to another authorization server.", IdPAdmin, "The audience at the identity provider must be this issuer identifier, letter by letter."},
	jwtBearer + "wrong_client":          {"client_id", "The assertion was made for another client than the one that brings it.", IdPAdmin, "Map the client there to its client_id here (at a Doorward provider: client_ids)."},
	jwtBearer + "time":                  {"times", "The assertion is expired, not yet valid, or the clocks differ.", IdPAdmin, "Compare the clocks of both servers (NTP); 30 seconds are allowed."},
	jwtBearer + "lifetime":              {"times", "The assertion lives longer than is allowed.", IdPAdmin, "Shorten its lifetime there, or raise id_jag.max_lifetime here."},
	jwtBearer + "cnf":                   {"features", "The assertion is bound to a key, which is not supported here.", IdPAdmin, "Let it be issued without cnf."},
	jwtBearer + "authorization_details": {"features", "The assertion has authorization_details, which are not supported here.", IdPAdmin, "Let it be issued without them."},
	jwtBearer + "tenant":                {"tenant", "The assertion names a tenant that is not allowed, or none where one is needed.", Operator, "List the tenant under id_jag.tenants if it is yours."},
	jwtBearer + "account":               {"account", "The claim that names the account is missing or unusable.", IdPAdmin, "Let it be sent, or name another under id_jag.account."},
	jwtBearer + "no_account":            {"account", "The person has no account here and the provider may not make one.", Operator, "Make the account, or allow new ones for this provider."},
	jwtBearer + "resource":              {"resource", "The assertion is for no resource of this issuer.", IdPAdmin, "Its resource must be what the server's metadata publishes."},
	jwtBearer + "scope":                 {"scopes", "The assertion names scopes that the resource does not have.", IdPAdmin, "Grant scopes that the resource's metadata lists."},
	jwtBearer + "replay":                {"single_use", "This assertion was used before.", Maker, "Get a new ID-JAG for each redemption."},
	jwtBearer + "invalid_authorization_details": {"request", "The request has authorization_details, of which no type exists here.", Maker,
		"Leave them out."},

	// Sign-ins exchanged for ID-JAGs.
	exchange + "invalid_request":               {"request", "The exchange is not as ID-JAG wants it.", Maker, "Send requested_token_type, subject_token, its type and the audience."},
	exchange + "subject_token":                 {"subject_token", "The subject token is no ID token of this issuer: damaged, or signed by another key.", Maker, "Send the ID token that this issuer gave."},
	exchange + "subject_token_time":            {"times", "The ID token expired.", Person, "Sign in again."},
	exchange + "subject_token_claims":          {"subject_claims", "The ID token was made for another client or by another issuer.", Maker, "Exchange an ID token with the client that it was made for."},
	exchange + "refresh_unknown":               {"subject_token", "This is no refresh token of this issuer.", Maker, "Keep the refresh token that came last."},
	exchange + "refresh_of_another_client":     {"subject_claims", "The refresh token belongs to another client.", Maker, "Use it with the client that it was given to."},
	exchange + "refresh_idle":                  {"alive", "The refresh token was not used for too long.", Person, "Sign in again."},
	exchange + "refresh_reused":                {"alive", "An older refresh token was used again; the grant ended.", Maker, "Store each new refresh token before using it; then sign in again."},
	exchange + "session_over":                  {"alive", "The person signed out.", Person, "Sign in again."},
	exchange + "invalid_target":                {"target", "The audience or the resource is not known here, or they do not belong together.", IdPAdmin, "List the audience with its resources; the client sends both letter by letter."},
	exchange + "public_client":                 {"target", "A client without a secret may not ask for this audience.", IdPAdmin, "Give the client a secret, or list it under public_clients."},
	exchange + "client_unknown_there":          {"client_there", "This client has no client id at that audience.", IdPAdmin, "Add it to the audience's client_ids."},
	exchange + "no_email":                      {"client_there", "The audience knows people by e-mail address, and this person has none.", IdPAdmin, "Give the person an address."},
	exchange + "invalid_authorization_details": {"request", "The request has authorization_details, of which no type exists here.", Maker, "Leave them out."},
	exchange + "denied_by_rule":                {"rules", "A deny rule of the audience matches.", IdPAdmin, "If they should get in, change the rule that is named."},
	exchange + "no_allow_rule":                 {"rules", "No allow rule of the audience lets them.", IdPAdmin, "If they should get in, write an allow rule for the audience."},
	exchange + "person_left":                   {"person", "The person was marked as left.", IdPAdmin, "If they are back: doorward leave --undo PERSON."},

	// Sign-ins in the browser.
	signIn + "redirect_uri":        {"redirect_uri", "The redirect URI is not one that the client registered.", Maker, "Register exactly the URI that is sent; on loopback only the port is free."},
	signIn + "invalid_request":     {"form", "The request is not as the specification wants it; what was seen names the mistake.", Maker, "Change the program that sends it."},
	signIn + "unauthorized_client": {"form", "The client may not send people here.", Operator, "Add authorization_code to the client's grant_types."},
	"unsupported_response_type":    {"form", "Only response_type=code exists.", Maker, "Send response_type=code."},
	signIn + "client_not_approved": {"approved", "An administrator has not let this client in yet.", Operator, "doorward client approve CLIENT"},
	"login_required":               {"signed_in", "Nobody is signed in, and the client asked to go on without a page (prompt=none).", Person, "Sign in."},
	"wrong_password":               {"signed_in", "The name or the password was wrong.", Person, "Try again; an administrator can set a new one (doorward user password)."},
	"too_many_passwords":           {"signed_in", "Too many wrong passwords; the next is taken after a pause.", Person, "Wait, then try again."},
	"no_sign_in":                   {"signed_in", "Nobody can sign in here: no people are configured.", Operator, "Name people or a provider in the configuration."},
	"sign_in_failed":               {"signed_in", "The sign-in could not be completed; what was seen says why.", Operator, "Mend what the log names."},
	"consent_required":             {"consent", "The person has to consent, and the client asked to go on without a page (prompt=none).", Person, "Begin again with a page."},
	"person_refused":               {"consent", "The person said no.", Person, "Begin again and allow it, if it was a mistake."},
	signIn + "provider_down":       {"signed_in", "The provider that people sign in at does not answer.", IdPAdmin, "Try again; if it stays, look whether the provider can be reached from here."},
	"provider_answer":              {"signed_in", "What the provider answered does not belong to this sign-in, or cannot be verified.", IdPAdmin, "Compare issuer, client id and keys at the provider with the configuration."},
	"provider_denied":              {"signed_in", "The provider did not let the person in, or the person broke off there.", IdPAdmin, "Assign the person to the application at the provider."},
	"provider_error":               {"signed_in", "The provider refused this server's request.", Operator, "Compare client id, secret and redirect URI with the registration at the provider."},
	"no_account":                   {"signed_in", "The person has no account here, and the provider may not make one.", Operator, "Make the account, or allow new ones for this provider."},
	signIn + "tenant":              {"signed_in", "The provider named a tenant that is not allowed, or none where one is needed.", Operator, "List the tenant under providers.NAME.tenants if it is yours."},
	signIn + "account":             {"signed_in", "The claim that names the account is missing or unusable.", IdPAdmin, "Let it be sent, or name another under providers.NAME.account."},
	"not_fresh":                    {"signed_in", "A fresh sign-in was asked for, and the provider did not make one.", Person, "Sign in again, with the password."},
	"state_used":                   {"signed_in", "The provider's answer was used before.", Person, "Begin again in the application."},
	"answered_already":             {"consent", "The page was answered before; it can give its answer once.", Person, "Go back to the application and begin again."},
	"attempt_lost":                 {"browser", "The page's address is incomplete or was changed.", Person, "Go back to the application and begin again."},
	"other_browser":                {"browser", "The page belongs to another browser, or cookies are not kept.", Person, "Allow cookies and begin again."},
	"cross_origin":                 {"browser", "Another site sent the form; nothing was done.", Person, "Close the page and begin again in the application."},

	// Requests to guarded servers.
	guarded + "token_missing":      {"token", "No access token came: the first request of every client, which then gets one.", Maker, "Get a token as WWW-Authenticate says, and send it in the Authorization header."},
	guarded + "token_twice":        {"token", "More than one access token came, or one in the body.", Maker, "Send one token, in one Authorization header."},
	guarded + "token_unreadable":   {"token", "What came is no JWT that can be read.", Maker, "Send the access token as it came."},
	guarded + "token_signature":    {"signature", "The token is not signed by a key of this issuer, or is no access token.", Maker, "Get a token from the issuer that the resource metadata names."},
	guarded + "keys_unavailable":   {"signature", "The keys to check tokens with cannot be had.", Operator, "Look why the issuer's key set cannot be fetched."},
	guarded + "token_claims":       {"signature", "The token lacks a claim or has one that cannot be used.", Maker, "Get a token from the issuer that the resource metadata names."},
	guarded + "token_audience":     {"audience", "The token was made for another resource.", Maker, "Ask for a token with this server's resource identifier; tokens are not passed on between servers."},
	guarded + "token_expired":      {"times", "The access token expired.", Maker, "Refresh it, or get a new one."},
	guarded + "token_time":         {"times", "The token is not valid yet: the clocks differ.", Operator, "Compare the clocks (NTP)."},
	guarded + "invalid_token":      {"alive", "The grant behind the token is over or unknown.", Person, "Sign in again."},
	guarded + "origin":             {"token", "A page of another origin called, or the host name is not this server's.", Operator, "List the origin under allowed_origins if it is yours."},
	guarded + "invalid_message":    {"body", "The message cannot be read in one way only; what was seen names the mistake.", Maker, "Send one JSON-RPC 2.0 message, in application/json."},
	guarded + "insufficient_scope": {"scopes", "The token lacks a scope that this needs.", Person, "Let the client ask for the scopes that are named; the person allows them."},
	guarded + "event_unknown":      {"session", "The stream that should go on is none of theirs.", Maker, "Open the stream without Last-Event-ID."},
	guarded + "session_not_found":  {"session", "The session ended, or is somebody else's.", Maker, "Begin a new one with initialize."},
	guarded + "store_unavailable":  {"alive", "The store could not be read.", Operator, "Look at the database and the log."},
	guarded + "upstream_unreachable": {"upstream", "The MCP server behind the gateway cannot be reached.", Operator,
		"Start it, or correct servers.NAME.upstream."},
	guarded + "upstream_refused":    {"upstream", "The MCP server refused the gateway's own credential, or does not take this request.", Operator, "Check servers.NAME.credential."},
	guarded + "upstream_redirect":   {"upstream", "The MCP server answers with a redirect.", Operator, "Name the URL that it leads to as upstream."},
	guarded + "upstream_failed":     {"upstream", "The MCP server failed.", Operator, "Read the log of the MCP server."},
	guarded + "upstream_unreadable": {"upstream", "What the MCP server answers is not MCP.", Operator, "Check that upstream is the endpoint of an MCP server."},
}
