# bash thrift-ping.sh PORT METHOD: call a Thrift method that takes no arguments; exit 0 when it answers with a result.
#
# A real request: the answer comes from behind the port. Frames of Thrift's strict binary protocol: version and type
# (1 call, 2 reply), length and name of the method, sequence number, then a struct; a reply's field 0 is the result, any
# other an error.
set -eu
port=$1 method=$2
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf "\\x80\\x01\\x00\\x01\\x00\\x00\\x00\\x$(printf %02x ${#method})$method\\x00\\x00\\x00\\x01\\x00" >&3
answer=$(timeout 10 head -c $((${#method} + 15)) <&3 | od -An -v -tx1 | tr -d ' \n')
[[ $answer == 80010002* && ${answer: -4} == 0000 ]]
