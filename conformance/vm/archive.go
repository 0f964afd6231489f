package main

import (
	"bytes"
	"fmt"
)

// archive is a cpio archive in the form "newc", which the kernel unpacks.
type archive struct {
	buf   bytes.Buffer
	inode int
}

// add adds a file or, by its mode, a folder.
func (a *archive) add(name string, mode uint32, content []byte) {
	a.inode++
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad()
	a.buf.Write(content)
	a.pad()
}

// pad fills up to a multiple of four bytes, where the next part begins.
func (a *archive) pad() { a.buf.Write(make([]byte, -a.buf.Len()&3)) }

// end returns the whole.
func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.buf.Bytes()
}
