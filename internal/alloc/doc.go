package alloc
