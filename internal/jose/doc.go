// Package jose signs and verifies JWTs and keeps key sets. It is the only
// importer of the JOSE library.
//
// Compact ES256 and EdDSA JWS are made and checked by our own code over
// crypto/ecdsa and crypto/ed25519 (the hot path), behind the RFCs' vectors and
// a differential fuzz test against go-jose, which does the rest. [Verify] is
// the function to read first: only it can make a [Verified].
package jose
