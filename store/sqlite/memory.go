package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"

	"modernc.org/sqlite"
)

// memoryName opens a private database in memory, begun as those in files are.
const memoryName = memory + "?_txlock=immediate"

// blank is a database in memory that has the schema and no record. To migrate
// is most of the work of opening, so it is done once and then copied.
var blank struct {
	sync.Mutex
	conn *conn // nil: not made yet
}

// memoryConnector makes private databases in memory, with the schema.
type memoryConnector struct{}

func (memoryConnector) Driver() driver.Driver { return nil }

func (memoryConnector) Connect(context.Context) (driver.Conn, error) {
	blank.Lock()
	defer blank.Unlock()
	if blank.conn == nil {
		c, err := newBlank()
		if err != nil {
			return nil, err
		}
		blank.conn = c
	}
	return copyOf(blank.conn)
}

func newBlank() (*conn, error) {
	connector, err := sqlite.NewConnector(memoryName)
	if err != nil {
		return nil, err
	}
	c, err := newConn(connector, "")
	if err != nil {
		return nil, err
	}
	if err := migrate(c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// copyOf is a new connection to a copy in memory of what the connection has.
func copyOf(c *conn) (driver.Conn, error) {
	from, ok := c.raw.(interface {
		NewBackup(string) (*sqlite.Backup, error)
	})
	if !ok {
		return nil, errors.New("the driver's connections cannot be copied")
	}
	b, err := from.NewBackup(memoryName)
	if err != nil {
		return nil, err
	}
	if _, err := b.Step(-1); err != nil {
		return nil, errors.Join(err, b.Finish())
	}
	return b.Commit()
}
