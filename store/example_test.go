package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"doorward/store"
	"doorward/store/sqlite"
)

// An authorization code is redeemed: it is used up and the grant is written in
// one step, so that of two callers only one gets a grant.
func Example() {
	db, err := sqlite.Open(":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()

	code := store.Record{Kind: "code", Key: "hash of the code", Expires: time.Now().Add(time.Minute)}
	if err := db.Commit(ctx, store.Create(code)); err != nil {
		log.Fatal(err)
	}
	grant := store.Record{Kind: "grant", Key: "g1", Index: []string{"person=corp/alice"}}
	fmt.Println(db.Commit(ctx, store.Take("code", code.Key), store.Create(grant)))

	grant.Key = "g2"
	err = db.Commit(ctx, store.Take("code", code.Key), store.Create(grant))
	fmt.Println(errors.Is(err, store.ErrTaken))

	grants, _, err := db.List(ctx, store.Query{Kind: "grant", Index: "person=corp/alice"})
	fmt.Println(len(grants), err)
	// Output:
	// <nil>
	// true
	// 1 <nil>
}
