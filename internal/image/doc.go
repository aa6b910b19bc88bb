// Package image keeps images and containers' file systems.
//
// Images live in containers/storage and travel through containers/image, the
// layer right below libimage: libimage reads the machine's containers.conf and
// policy.json and answers in Podman's words, while a Docker user expects
// neither. Containers' writable layers are this package's own: an overlay
// mount on the image's layers, kept as one folder per container, because
// containers/storage rewrites one file of all layers on each create (see
// layers.go).
//
// Nothing under /etc/containers is read; credentials come with each request.
package image
