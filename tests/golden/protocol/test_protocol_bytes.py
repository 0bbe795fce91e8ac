"""Messages written out byte by byte, field by field, from Kafka's protocol guide: the codec must agree.

These do not depend on another codec being installed, and they are the only check of the records of
`__consumer_offsets`, which no client library carries.
"""

from __future__ import annotations

from uuid import UUID

import pytest

from rivven.protocol import codec
from rivven.protocol import messages as m


def bytes_of(annotated: str) -> bytes:
    """Hexadecimal with one field a line; what follows '#' says which."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in annotated.splitlines()))


P = m.ProduceRequest
R = m.ProduceResponse
F = m.FetchResponse
M = m.MetadataResponse
G = m.GroupMetadataValue

REQUESTS = [
    pytest.param(18, 0, m.ApiVersionsRequest(), "", id="ApiVersions-0"),
    pytest.param(
        18,
        3,
        m.ApiVersionsRequest(client_software_name="librdkafka", client_software_version="2.0.2"),
        """
        0b 6c6962 72646b 61666b61   # compact string, length 10 + 1
        06 322e302e32               # length 5 + 1
        00                          # no tagged fields
        """,
        id="ApiVersions-3",
    ),
    pytest.param(17, 0, m.SaslHandshakeRequest(mechanism="PLAIN"), "0005 504c41494e", id="SaslHandshake-0"),
    pytest.param(3, 0, m.MetadataRequest(topics=[]), "00000000", id="Metadata-0-all"),
    pytest.param(3, 1, m.MetadataRequest(topics=None), "ffffffff", id="Metadata-1-all"),
    pytest.param(
        3,
        12,
        m.MetadataRequest(topics=[m.MetadataRequest.MetadataRequestTopic(name="t")]),
        """
        02                                    # one topic
          00000000000000000000000000000000    # topic id: none
          02 74 00                            # name "t", no tagged fields
        01                                    # allow_auto_topic_creation
        00                                    # include_topic_authorized_operations
        00
        """,
        id="Metadata-12",
    ),
    pytest.param(
        0,
        9,
        P(
            acks=-1,
            timeout_ms=30_000,
            topic_data=[
                P.TopicProduceData(
                    name="t1",
                    partition_data=[P.PartitionProduceData(index=5, records=b"\xde\xad\xbe\xef")],  # type: ignore[arg-type]
                )
            ],
        ),
        """
        00                  # transactional id: null
        ffff                # acks
        00007530            # timeout
        02                  # one topic
          03 7431           # name
          02                # one partition
            00000005        # index
            05 deadbeef     # records
            00 00 00        # no tagged fields: partition, topic, request
        """,
        id="Produce-9",
    ),
    pytest.param(
        0,
        3,
        P(transactional_id="x", acks=1, timeout_ms=1, topic_data=[P.TopicProduceData(name="t")]),
        """
        0001 78  0001  00000001
        00000001  0001 74  00000000
        """,
        id="Produce-3",
    ),
    pytest.param(
        11,
        0,
        m.JoinGroupRequest(
            group_id="g",
            session_timeout_ms=10_000,
            member_id="",
            protocol_type="consumer",
            protocols=[m.JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"\x00\x01")],
        ),
        """
        0001 67  00002710  0000  0008 636f6e73756d6572
        00000001  0005 72616e6765  00000002 0001
        """,
        id="JoinGroup-0",
    ),
    pytest.param(
        23,
        4,
        m.OffsetForLeaderEpochRequest(
            replica_id=-2,
            topics=[
                m.OffsetForLeaderEpochRequest.OffsetForLeaderTopic(
                    topic="t",
                    partitions=[
                        m.OffsetForLeaderEpochRequest.OffsetForLeaderPartition(
                            partition=1, current_leader_epoch=-1, leader_epoch=7
                        )
                    ],
                )
            ],
        ),
        "fffffffe 02 0274 02 00000001 ffffffff 00000007 00 00 00",
        id="OffsetForLeaderEpoch-4",
    ),
]

RESPONSES = [
    pytest.param(
        38,
        3,
        m.CreateDelegationTokenResponse(
            error_code=64, issue_timestamp_ms=-1, expiry_timestamp_ms=-1, max_timestamp_ms=-1
        ),
        """
        0040                      # DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
        01 01                     # owner: type and name
        01 01                     # requester: type and name
        ffffffffffffffff          # issued
        ffffffffffffffff          # expires
        ffffffffffffffff          # maximum
        01                        # token id
        01                        # HMAC
        00000000                  # throttle time
        00
        """,
        id="CreateDelegationToken-3-refused",
    ),
    pytest.param(
        41,
        1,
        m.DescribeDelegationTokenResponse(
            tokens=[
                m.DescribeDelegationTokenResponse.DescribedDelegationToken(
                    principal_type="User",
                    principal_name="a",
                    issue_timestamp=1,
                    expiry_timestamp=2,
                    max_timestamp=3,
                    token_id="t",
                    hmac=b"",
                )
            ]
        ),
        """
        0000                      # no error
        00000001                  # one token
          0004 55736572 0001 61   # owner User:a
          0000000000000001 0000000000000002 0000000000000003
          0001 74                 # id "t"
          00000000                # HMAC: empty
          00000000                # no renewers
        00000000                  # throttle time
        """,
        id="DescribeDelegationToken-1",
    ),
    pytest.param(
        18,
        0,
        m.ApiVersionsResponse(
            api_keys=[m.ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=4)]
        ),
        "0000 00000001 0012 0000 0004",
        id="ApiVersions-0",
    ),
    pytest.param(
        18,
        3,
        m.ApiVersionsResponse(
            api_keys=[m.ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=4)],
            finalized_features_epoch=5,
        ),
        """
        0000                                # no error
        02  0012 0000 0004 00               # one key
        00000000                            # throttle time
        01                                  # one tagged field,
        01 08 0000000000000005              # tag 1, eight bytes: the epoch
        """,
        id="ApiVersions-3",
    ),
    pytest.param(
        0,
        8,
        R(
            responses=[
                R.TopicProduceResponse(
                    name="t",
                    partition_responses=[
                        R.PartitionProduceResponse(
                            index=1,
                            error_code=87,
                            base_offset=-1,
                            record_errors=[
                                R.BatchIndexAndErrorMessage(batch_index=2, batch_index_error_message="no")
                            ],
                            error_message="bad",
                        )
                    ],
                )
            ]
        ),
        """
        00000001 0001 74 00000001
          00000001 0057 ffffffffffffffff    # index, INVALID_RECORD, base offset
          ffffffffffffffff ffffffffffffffff # log append time, log start offset
          00000001 00000002 0002 6e6f       # one record error
          0003 626164                       # message
        00000000                            # throttle time
        """,
        id="Produce-8-error",
    ),
    pytest.param(
        1,
        12,
        F(
            responses=[
                F.FetchableTopicResponse(
                    topic="t",
                    partitions=[
                        F.PartitionData(
                            partition_index=1,
                            high_watermark=9,
                            last_stable_offset=8,
                            log_start_offset=0,
                            diverging_epoch=F.EpochEndOffset(epoch=3, end_offset=7),
                            aborted_transactions=None,
                            records=b"\xab",
                        )
                    ],
                )
            ]
        ),
        """
        00000000 0000 00000000              # throttle time, error, session id
        02 0274 02                          # one topic, one partition
          00000001 0000                     # index, error
          0000000000000009 0000000000000008 # high watermark, last stable offset
          0000000000000000                  # log start offset
          00                                # aborted transactions: null
          ffffffff                          # preferred read replica
          02 ab                             # records
          01 00 0d 00000003 0000000000000007 00   # tag 0: epoch 3 ends at 7
        00 00
        """,
        id="Fetch-12",
    ),
    pytest.param(
        3,
        13,
        M(
            brokers=[M.MetadataResponseBroker(node_id=1, host="h", port=9092)],
            cluster_id="c",
            controller_id=1,
            topics=[
                M.MetadataResponseTopic(
                    name="t",
                    topic_id=UUID(int=1),
                    partitions=[
                        M.MetadataResponsePartition(
                            leader_id=1, leader_epoch=4, replica_nodes=[1], isr_nodes=[1]
                        )
                    ],
                )
            ],
        ),
        """
        00000000                            # throttle time
        02 00000001 0268 00002384 00 00     # broker 1 h:9092, no rack
        0263 00000001                       # cluster id, controller
        02 0000 0274                        # one topic, no error, name
          00000000000000000000000000000001  # topic id
          00 02                             # not internal, one partition
            0000 00000000 00000001 00000004 # error, index, leader, epoch
            02 00000001 02 00000001 01 00   # replicas, isr, no offline ones
          80000000 00                       # operations not asked for
        0000 00                             # error
        """,
        id="Metadata-13",
    ),
]

DATA = [
    pytest.param(
        "OffsetCommitKey", 1, m.OffsetCommitKey(group="g", topic="t", partition=3), "0001 67 0001 74 00000003"
    ),
    pytest.param(
        "OffsetCommitValue",
        0,
        m.OffsetCommitValue(offset=5, metadata="m", commit_timestamp=1),
        "0000000000000005 0001 6d 0000000000000001",
    ),
    pytest.param(
        "OffsetCommitValue",
        1,
        m.OffsetCommitValue(offset=5, metadata="", commit_timestamp=1, expire_timestamp=2),
        "0000000000000005 0000 0000000000000001 0000000000000002",
    ),
    pytest.param(
        "OffsetCommitValue",
        3,
        m.OffsetCommitValue(offset=5, leader_epoch=7, metadata="m", commit_timestamp=1),
        "0000000000000005 00000007 0001 6d 0000000000000001",
    ),
    pytest.param("GroupMetadataKey", 2, m.GroupMetadataKey(group="g1"), "0002 6731"),
    pytest.param(
        "GroupMetadataValue",
        3,
        G(
            protocol_type="consumer",
            generation=2,
            protocol="range",
            leader="a",
            current_state_timestamp=9,
            members=[
                G.MemberMetadata(
                    member_id="a",
                    group_instance_id=None,
                    client_id="c",
                    client_host="/h",
                    rebalance_timeout=60_000,
                    session_timeout=10_000,
                    subscription=b"\x01",
                    assignment=b"",
                )
            ],
        ),
        """
        0008 636f6e73756d6572 00000002      # protocol type, generation
        0005 72616e6765 0001 61             # protocol, leader
        0000000000000009                    # current state timestamp
        00000001 0001 61 ffff               # one member, no instance id
          0001 63 0002 2f68                 # client id, host
          0000ea60 00002710                 # rebalance and session timeout
          00000001 01 00000000              # subscription, assignment
        """,
    ),
    pytest.param(
        "GroupMetadataValue",
        0,
        G(
            protocol_type="consumer",
            members=[G.MemberMetadata(member_id="a", client_id="c", client_host="h", session_timeout=1)],
            protocol=None,
            leader=None,
        ),
        """
        0008 636f6e73756d6572 00000000 ffff ffff
        00000001 0001 61 0001 63 0001 68 00000001 00000000 00000000
        """,
    ),
]


@pytest.mark.parametrize(("key", "version", "request_", "expected"), REQUESTS)
def test_requests(key: int, version: int, request_: m.Request, expected: str) -> None:
    assert codec.write_request(key, version, request_) == bytes_of(expected)
    assert codec.parse_request(key, version, bytes_of(expected)) == request_


@pytest.mark.parametrize(("key", "version", "response", "expected"), RESPONSES)
def test_responses(key: int, version: int, response: m.Response, expected: str) -> None:
    assert codec.write_response(key, version, response) == bytes_of(expected)
    assert codec.parse_response(key, version, bytes_of(expected)) == response


@pytest.mark.parametrize(("name", "version", "data", "expected"), DATA)
def test_stored_structs(name: str, version: int, data: m.Data, expected: str) -> None:
    assert codec.write_data(name, version, data) == bytes_of(expected)
    assert codec.parse_data(name, version, bytes_of(expected)) == data


def test_request_header_bytes() -> None:
    classic = bytes_of("0003 0001 00000007 0003 666f6f")
    assert codec.parse_request_header(classic)[0] == codec.RequestHeader(3, 1, 7, "foo")
    flexible = bytes_of("0003 000c 00000007 0003 666f6f 00")
    assert codec.parse_request_header(flexible) == (codec.RequestHeader(3, 12, 7, "foo"), len(flexible))
    assert codec.request_header_bytes(codec.RequestHeader(3, 12, 7, "foo")) == flexible
    assert codec.request_header_bytes(codec.RequestHeader(3, 1, 7, None)) == bytes_of(
        "0003 0001 00000007 ffff"
    )
