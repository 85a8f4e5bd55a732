// Package keep is what the commands keep between runs: one sealed file for each
// profile (AES-256-GCM, readable by its owner alone, replaced in one step), its
// key in the system's keyring or, where there is none, in a second file or in
// the environment. Processes that share a profile take turns.
//
// It does not know how tokens are got or renewed: [Store.Update] lends the
// profile to whoever does, while no other process can.
package keep
