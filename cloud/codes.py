"""One table: each AWS error code, what it is to the caller, and why.

A code means the same whichever service says it (EC2, S3, STS, IAM, SSM, KMS, Service Quotas, the
price list). A row that begins with `*` is for every code that ends so. What is in no row is judged
by its HTTP status, and never against the job: see `cloud.errors.kind_of`.

The user of a job chooses an instance type and an image URL, and AWS hears of the first alone. So
one code of a launch is final, `InvalidInstanceType`; everything else that a launch can be refused
for is ours to mend, or a zone's, or a minute's.

Sources: EC2 API reference, "Error codes for the Amazon EC2 API" and "Common client error codes";
S3 API reference, "List of error codes"; IAM, STS, SSM, KMS, Service Quotas and Price List API
references, "Errors" of each call and "Common errors"; EC2 user guide, "Troubleshoot instance
launch issues"; Karpenter's list of what means "no capacity here".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloud.kinds import (
    Busy,
    ImageRefused,
    Missing,
    NoCapacity,
    NoSuchType,
    NotAllowed,
    NotHere,
    NotSetUp,
    OutcomeUnknown,
    ParametersDiffer,
    QuotaReached,
    Throttled,
    Unexplained,
)
from cloud.model import AttemptSpent
from faults import Fault, Refused


@dataclass(frozen=True, slots=True)
class Row:
    """One code: its kind, and the reason, which is shown where an operator has to act."""

    code: str
    kind: type[Fault]
    reason: str


# Each kind, and its codes with their reasons.
TABLE: tuple[tuple[type[Fault], Mapping[str, str]], ...] = (
    (Throttled, {
        "RequestLimitExceeded": "EC2's token bucket of this account, region and call is empty",
        "Throttling": "the rate limit, in the words of the query APIs",
        "ThrottlingException": "the rate limit, in the words of the JSON APIs",
        "ThrottledException": "the rate limit",
        "RequestThrottled": "the rate limit",
        "RequestThrottledException": "the rate limit",
        "TooManyRequestsException": "the rate limit of Service Quotas",
        "TooManyRequests": "the rate limit",
        "EC2ThrottledException": "a service that asks EC2 for us was throttled",
        "PriorRequestNotComplete": "an earlier call of the same kind is still at work",
        "BandwidthLimitExceeded": "S3's limit on bytes",
        "SlowDown": "S3's limit on requests a prefix",
        "429": "the status alone, of an answer without a body",
    }),
    (NoCapacity, {
        "InsufficientInstanceCapacity": "the zone has no such machine free now",
        "InsufficientHostCapacity": "no free dedicated host",
        "InsufficientCapacityOnHost": "this dedicated host is full",
        "InsufficientCapacity": "a fleet's word for no capacity",
        "InsufficientReservedInstanceCapacity": "the reservation is used up",
        "ReservationCapacityExceeded": "the capacity reservation is used up (in Karpenter's list)",
        "MaxSpotInstanceCountExceeded": "the spot limit; on demand is another one's",
        "UnfulfillableCapacity": "a fleet's word for no capacity",
        "Unsupported": "the type is not offered in this zone",
        "UnsupportedHostConfiguration": "the dedicated host does not take this type",
        "InsufficientFreeAddressesInSubnet": "the subnet's addresses are used up",
        "InsufficientVolumeCapacity": "the zone has no room for the volume",
        "InsufficientAddressCapacity": "AWS has no free public address in the region now",
    }),
    (QuotaReached, {
        "VcpuLimitExceeded": "vCPU quota; ask for more in Service Quotas",
        "InstanceLimitExceeded": "instance quota of the region",
        "MaxConfigLimitExceededException": "the account's limit for this type",
        "AddressLimitExceeded": "Elastic IP quota",
        "PrivateIpAddressLimitExceeded": "addresses of one network interface",
        "VolumeLimitExceeded": "EBS volume quota",
        "MaxIOPSLimitExceeded": "EBS IOPS quota",
        "VolumeIOPSLimit": "EBS IOPS quota",
        "SnapshotLimitExceeded": "snapshot quota (baking)",
        "ResourceLimitExceeded": "a quota that is not named",
        "NetworkInterfaceLimitExceeded": "network interface quota of the region",
        "AttachmentLimitExceeded": "volumes or interfaces of one instance",
        "SecurityGroupLimitExceeded": "group quota (cloud setup)",
        "SecurityGroupsPerInstanceLimitExceeded": "groups of one interface",
        "RulesPerSecurityGroupLimitExceeded": "rules of one group",
        "VpcLimitExceeded": "VPC quota",
        "SubnetLimitExceeded": "subnet quota",
        "TagLimitExceeded": "tags of one resource",
        "LimitExceeded": "IAM's word for a quota",
        "LimitExceededException": "IAM's word for a quota (of the JSON APIs)",
        "ServiceQuotaExceededException": "IAM's word for a quota",
        "QuotaExceededException": "IAM's word for a quota",
        "TooManyBuckets": "the account's bucket quota",
    }),
    (AttemptSpent, {
        "IdempotentInstanceTerminated": "the instance of this ClientToken has ended",
    }),
    (ParametersDiffer, {
        "IdempotentParameterMismatch": "the ClientToken launched something else",
    }),
    (NotAllowed, {
        "UnauthorizedOperation": "a policy is missing (or not everywhere yet): cloud policy agent",
        "AccessDenied": "a policy is missing, or not everywhere yet",
        "AccessDeniedException": (
            "a policy is missing, or not everywhere yet (in the words of the JSON APIs)"
        ),
        "AccessDeniedForDependency": "a policy is missing for what the call needs beside itself",
        "NotAuthorized": "a policy is missing for what the call needs beside itself",
        "NotAuthorizedException": "a policy is missing for what the call needs beside itself",
        "UnauthorizedAccess": "a policy is missing for what the call needs beside itself",
        "Forbidden": "a policy is missing for what the call needs beside itself",
        "403": "the status alone, of a HEAD",
        "400": "a HEAD has no words: an expired token, or another region's bucket",
        "401": "the status alone",
        "AuthFailure": "keys that this region does not take: wrong, or the region is not enabled",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
            "an administrator makes the role once"
        ),
        "InvalidClientTokenId": "no such key: deleted, inactive, or of another partition",
        "InvalidAccessKeyId": "no such key: deleted, inactive, or of another partition (of S3)",
        "InactiveAccessKey": "the access key is switched off",
        "InvalidToken": (
            "a session token that this region does not take (opt-in regions want a token of "
            "the region's own STS endpoint)"
        ),
        "InvalidIdentityToken": "the web identity token was refused",
        "ExpiredToken": "the session ended; the credentials' source has to give a new one",
        "ExpiredTokenException": (
            "the session ended; the credentials' source has to give a new one"
        ),
        "ExpiredTokenId": "the session ended; the credentials' source has to give a new one",
        "TokenRefreshRequired": (
            "the session ended; the credentials' source has to give a new one (of S3)"
        ),
        "RequestExpired": "the request was late, or this machine's clock is wrong",
        "RequestInTheFuture": "this machine's clock is ahead",
        "RequestTimeTooSkewed": "this machine's clock is wrong",
        "SignatureDoesNotMatch": "wrong secret key, or this machine's clock",
        "InvalidSignatureException": (
            "wrong secret key, or this machine's clock (in the words of the JSON APIs)"
        ),
        "InvalidSignature": "wrong secret key, or this machine's clock",
        "SignatureVersionNotSupported": "something between us and AWS changes the request",
        "IncompleteSignature": "something between us and AWS changes the request",
        "IncompleteSignatureException": "something between us and AWS changes the request",
        "XAmzContentSHA256Mismatch": "something between us and AWS changes the body",
        "MissingAuthenticationToken": "no or empty credentials were sent",
        "MissingAuthenticationTokenException": "no or empty credentials were sent",
        "MissingSecurityHeader": "no or empty credentials were sent",
        "MissingSecurityElement": "no or empty credentials were sent",
        "CredentialsNotSupported": "this endpoint takes no keys",
        "UnrecognizedClientException": "keys of another partition, or none",
        "RegionDisabledException": "the region is not enabled in this account",
        "RegionDisabled": "the region is not enabled in this account",
        "PendingVerification": (
            "AWS verifies the account for this region; it passes, or support helps"
        ),
        "AccountDisabled": "the account's administrator or AWS switched it off",
        "AccountProblem": "billing or the account's state",
        "AccountSuspended": "billing or the account's state",
        "Blocked": "the account is blocked; AWS support",
        "NotSignedUp": "the account has no S3 (or is not active yet)",
        "SubscriptionRequiredException": "the account has not activated the service",
        "OptInRequiredException": "the account has not activated the service",
        "AllAccessDisabled": "the bucket was disabled by AWS",
        "KMS.AccessDeniedException": "the bucket's KMS key does not let us",
        "KMSAccessDeniedException": "the bucket's KMS key does not let us",
        "InvalidSecurity.RequestHasExpired": "this machine's clock",
    }),
    (ImageRefused, {
        "InvalidAMIID.NotFound": "the image was deregistered, or is of another region",
        "InvalidAMIID.Unavailable": "the image is not ready, disabled or being deregistered",
        "InvalidAMIID.Malformed": "`aws.ami` is no image id",
        "InvalidAMIName.Malformed": "`aws.ami` is no image name",
        "InvalidAMIAttributeItemValue": "the image is not shared with this account",
        "InvalidManifest": "the image itself is broken",
        "InvalidSnapshot.NotFound": "the image's snapshot is gone",
        "InvalidSnapshotID.Malformed": "the image names no snapshot",
        "IncorrectSnapshotState": "the image's snapshot is not complete yet",
        "InvalidBlockDeviceMapping": (
            "the volume is smaller than the image's snapshot, or its root device has another "
            "name"
        ),
        "InvalidBlockDeviceMapping.Malformed": (
            "the volume is smaller than the image's snapshot, or its root device has another "
            "name"
        ),
        "MissingBlockDeviceMapping": "the image names no root volume",
        "OptInRequired": (
            "the image is a marketplace product nobody subscribed to, or the region is not "
            "enabled"
        ),
        "InvalidProductInfo": "a marketplace product that this account can't use",
        "InvalidProductCode": "a marketplace product that this account can't use",
        "EncryptedVolumesNotSupported": "the image's volumes can't be encrypted on this type",
    }),
    (NotHere, {
        "InvalidSubnetID.NotFound": "the subnet is gone",
        "InvalidSubnetID.Malformed": "`aws.subnets` names no subnet",
        "InvalidSubnet": "the subnet does not fit the request",
        "SubnetNotFound": "the subnet is gone",
        "InvalidAvailabilityZone": "the zone is closed to this account",
        "InvalidParameter": "group and subnet are of different networks, or the like",
        "InvalidInterface.IpAddressLimitExceeded": "addresses of the interface are used up",
        "InvalidIPAddress.InUse": "an address of the subnet that is taken",
        "InvalidPlacementGroup.Unknown": "the placement group is gone",
        "InvalidTenancy": "a VPC of dedicated tenancy takes no shared machine",
    }),
    (NotSetUp, {
        "InvalidParameterValue": (
            "something we configured, most often an instance profile that is not everywhere "
            "yet or gone (`Invalid IAM Instance Profile name`): cloud setup"
        ),
        "InvalidParameterCombination": "enclaves, image and type as configured do not go together",
        "InvalidInput": "IAM or STS do not take what was configured",
        "InvalidIamInstanceProfile": "the instance profile is not everywhere yet, or gone",
        "InvalidIamInstanceProfileArn.Malformed": "the instance profile has no such ARN",
        "InvalidInstanceProfile.NotFound": "the instance profile has no such ARN",
        "NoAssociatedRole": "the instance profile has no role: cloud setup",
        "MissingParameter": "the request lacks what this region asks for",
        "UnknownParameter": "this region does not know a parameter of ours",
        "InvalidRequest": "the bucket asks for what we do not send (Object Lock, checksums)",
        "UnsupportedOperation": "this region or partition does not know what we ask for",
        "UnsupportedOperationException": "this region or partition does not know what we ask for",
        "InvalidAction": "this region or partition does not know what we ask for",
        "UnknownOperationException": "this region or partition does not know what we ask for",
        "NotImplemented": "the store behind the endpoint does not know the call",
        "MethodNotAllowed": "the store behind the endpoint does not know the call",
        "UnsupportedProtocol": "this endpoint wants HTTPS",
        "InvalidProtocol": "this endpoint wants HTTPS",
        "NoSuchVersion": "this region's API is of another version",
        "VPCResourceNotSpecified": "the account has no default VPC: name `aws.subnets`",
        "VPCIdNotSpecified": "the account has no default VPC: name `aws.subnets`",
        "DefaultVpcDoesNotExist": "the account has no default VPC: name `aws.subnets`",
        "InvalidVpcID.NotFound": "the VPC is gone",
        "InvalidGroup.NotFound": "the security group is gone: cloud setup",
        "InvalidGroupId.Malformed": "the security group has no such id",
        "InvalidSecurityGroupID.NotFound": "the security group has no such id",
        "InvalidKeyPair.NotFound": "a key pair that is gone",
        "InvalidUserData.Malformed": "what the instance boots with is not what EC2 takes",
        "UserDataLimitExceeded": "what the instance boots with is too long",
        "InvalidKMSKey.InvalidState": "the account's EBS key is disabled or being deleted",
        "InvalidKmsKey.InvalidState": "the account's EBS key is disabled or being deleted",
        "KMSKeyNotAccessibleFault": "the account's EBS key can't be used",
        "KMS.DisabledException": "the bucket's KMS key is disabled",
        "KMS.NotFoundException": "the bucket's KMS key is gone",
        "KMS.KMSInvalidStateException": "the bucket's KMS key is being deleted",
        "KMS.InvalidKeyUsageException": "the bucket's KMS key is of another kind",
        "KMS.InvalidStateException": "the bucket's KMS key is in no state to be used",
        "DisabledException": "the KMS key is disabled",
        "NotFoundException": "no such KMS key in this region",
        "InvalidArnException": "the KMS key has no such ARN",
        "InvalidKeyUsageException": "the KMS key is of another kind",
        "KMSInvalidStateException": "the KMS key is being deleted, or in no state to be used",
        "InvalidKeyId": "an SSM parameter's key can't be used",
        "InvalidGrantTokenException": "a KMS grant is not everywhere yet",
        "InvalidNextToken": "a page mark that has lapsed; the next listing begins anew",
        "InvalidPaginationToken": "a page mark that has lapsed; the next listing begins anew",
        "ExpiredNextTokenException": "a page mark that has lapsed; the next listing begins anew",
        "InvalidNextTokenException": "a page mark that has lapsed; the next listing begins anew",
        "InvalidBucketName": "`aws.bucket_prefix` makes no bucket name",
        "InvalidBucketState": "the bucket's settings forbid it",
        "InvalidLocationConstraint": "the bucket's region",
        "IllegalLocationConstraintException": "the bucket is of another region than the endpoint",
        "AuthorizationHeaderMalformed": "the bucket is of another region than the endpoint",
        "PermanentRedirect": "the bucket is in another region, or its name was taken over",
        "Redirect": "the bucket is young: its name is not everywhere yet",
        "TemporaryRedirect": "the bucket is young: its name is not everywhere yet",
        "301": "the bucket is young: its name is not everywhere yet (of a HEAD)",
        "302": "the bucket is young: its name is not everywhere yet",
        "307": "the bucket is young: its name is not everywhere yet",
        "308": "the bucket is young: its name is not everywhere yet",
        "InvalidObjectState": "the object was archived by somebody's lifecycle rule",
        "InvalidEncryptionAlgorithmError": "the bucket asks for another encryption",
    }),
    (NoSuchType, {
        "InvalidInstanceType": "EC2 has no such type there: this is the user's own wish",
    }),
    (Missing, {
        "NoSuchKey": "no such object",
        "NoSuchBucket": "no such bucket: cloud setup",
        "NoSuchUpload": "the upload was ended",
        "NoSuchEntity": "IAM has no such thing, or not yet",
        "NoSuchEntityException": "IAM has no such thing, or not yet",
        "NotFound": "a HEAD's word for it",
        "404": "the status alone, of a HEAD",
        "NoSuchBucketPolicy": "the bucket has no policy",
        "NoSuchLifecycleConfiguration": "the bucket has no lifecycle rules",
        "NoSuchTagSet": "the bucket has no tags",
        "NoSuchTagSetError": "the bucket has no tags",
        "NoSuchPublicAccessBlockConfiguration": "the bucket has none",
        "OwnershipControlsNotFoundError": "the bucket has none",
        "ServerSideEncryptionConfigurationNotFoundError": "the bucket has none",
        "NoSuchResourceException": "Service Quotas knows no such quota here",
        "ParameterNotFound": "SSM has no such parameter here",
        "ParameterVersionNotFound": "SSM has no such parameter here",
        "ResourceNotFoundException": "no such thing",
        "*.NotFound": "named in the code: InvalidInstanceID, InvalidAllocationID, ...",
        "*.Malformed": "an id of another form names nothing",
        "*.Unavailable": "there, but not to be used",
    }),
    (Busy, {
        "IncorrectState": "it is between two states",
        "IncorrectInstanceState": "the instance is between two states",
        "IncorrectStateException": "the instance is between two states",
        "IncorrectSpotRequestState": "the instance is between two states",
        "InvalidState": "the instance is between two states",
        "InvalidStateException": "the instance is between two states",
        "InvalidInstanceState": "the instance is between two states",
        "VolumeInUse": "the volume is being detached",
        "InvalidNetworkInterface.InUse": "the interface is being detached",
        "Resource.AlreadyAssociated": "the address is on its way",
        "Resource.AlreadyAssigned": "the address is on its way",
        "DependencyViolation": "something still uses it (a group whose instances end)",
        "DeleteConflict": "IAM: something still uses it",
        "EntityTemporarilyUnmodifiable": "IAM is at work on it",
        "ConcurrentModification": "another call changed it meanwhile",
        "ConcurrentModificationException": "another call changed it meanwhile",
        "ResourceInUseException": "another call holds it",
        "OperationAborted": "S3: another call changes the same thing",
        "ConditionalRequestConflict": "S3: another write of the same key was under way",
        "PreconditionFailed": "S3: somebody else wrote first; look again",
        "412": "S3: somebody else wrote first; look again (of a HEAD)",
        "409": "the status alone",
        "ConflictException": "another call changed it meanwhile",
        "BucketNotEmpty": "what was deleted is not gone everywhere",
    }),
    (OutcomeUnknown, {
        "InternalError": "AWS failed, whether before or after doing it",
        "InternalFailure": "AWS failed, whether before or after doing it",
        "InternalException": "AWS failed, whether before or after doing it",
        "InternalServerError": "AWS failed, whether before or after doing it",
        "InternalServiceError": "AWS failed, whether before or after doing it",
        "InternalServiceException": "AWS failed, whether before or after doing it",
        "InternalErrorException": "AWS failed, whether before or after doing it",
        "ServerInternal": "AWS failed, whether before or after doing it",
        "KMSInternalException": "AWS failed, whether before or after doing it (of KMS)",
        "DependencyTimeoutException": "KMS waited for something in vain",
        "KeyUnavailableException": "KMS can't reach the key just now",
        "ServiceUnavailable": "AWS is overloaded or down",
        "ServiceUnavailableException": "AWS is overloaded or down",
        "ServiceUnavailableError": "AWS is overloaded or down",
        "Unavailable": "AWS is overloaded or down",
        "503": "the status alone",
        "500": "the status alone",
        "502": "something between us and AWS failed",
        "504": "something between us and AWS failed",
        "RequestTimeout": "the connection stood still",
        "RequestTimeoutException": "the connection stood still",
        "RequestAbortedException": "the connection stood still",
        "ConnectionClosed": "the connection stood still",
        "IncompleteBody": "the connection broke while we sent",
        "BadDigest": "the bytes were damaged on their way",
        "InvalidDigest": "the bytes were damaged on their way",
        "IDPCommunicationError": "STS does not reach who vouches for us",
        "ServiceException": "AWS failed",
        "ServiceFailure": "AWS failed",
    }),
    (Refused, {
        "OperationNotPermitted": "the instance is protected from being ended: switch that off",
        "BucketAlreadyExists": "the name is a stranger's: choose another aws.bucket_prefix",
        "BucketAlreadyOwnedByYou": "the bucket is there already",
        "EntityAlreadyExists": "IAM has one of that name already",
        "EntityAlreadyExistsException": "IAM has one of that name already",
        "InvalidGroup.Duplicate": "there is a group of that name already",
        "InvalidPermission.Duplicate": "the rule is there already",
        "InvalidAMIName.Duplicate": "an image of that name is there already",
        "EntityTooLarge": "more than S3 takes at once",
        "EntityTooSmall": "a part that is smaller than S3 takes",
        "KeyTooLongError": "a key that is longer than S3 takes",
        "MalformedPolicyDocument": "IAM does not read the policy",
        "MalformedPolicyDocumentException": "IAM does not read the policy",
        "MalformedPolicy": "S3 does not read the policy",
        "MalformedXML": "S3 does not read the request",
        "InvalidPart": "a part of the upload is not what was sent",
        "InvalidPartOrder": "a part of the upload is not what was sent",
        "InvalidRange": "there are no such bytes",
    }),
    (Unexplained, {
        "DryRunOperation": "a rehearsal's yes, where no rehearsal was asked for",
    }),
)  # fmt: skip

CODES: Mapping[str, Row] = {
    code: Row(code, kind, reason) for kind, codes in TABLE for code, reason in codes.items()
}
