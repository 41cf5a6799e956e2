package conformance

// The names in MongoDB's manual, by the page that lists them. Names that were in
// earlier versions of the manual stay: old clients may send them.
const (
	// reference/command.
	commandNames = `
		aggregate count distinct mapReduce bulkWrite delete find findAndModify getMore insert resetError update
		planCacheClear planCacheClearFilters planCacheListFilters planCacheSetFilter authenticate logout getnonce
		createUser dropAllUsersFromDatabase dropUser grantRolesToUser revokeRolesFromUser updateUser usersInfo
		createRole dropRole dropAllRolesFromDatabase grantPrivilegesToRole grantRolesToRole invalidateUserCache
		revokePrivilegesFromRole revokeRolesFromRole rolesInfo updateRole
		appendOplogNote applyOps hello isMaster replSetAbortPrimaryCatchUp replSetFreeze replSetGetConfig replSetGetStatus
		replSetInitiate replSetMaintenance replSetReconfig replSetResizeOplog replSetStepDown replSetSyncFrom
		abortReshardCollection abortMoveCollection abortUnshardCollection addShard addShardToZone analyzeShardKey
		balancerCollectionStatus balancerStart balancerStatus balancerStop checkMetadataConsistency checkShardingIndex
		cleanupOrphaned cleanupReshardCollection clearJumboFlag commitReshardCollection configureCollectionBalancing
		configureQueryAnalyzer enableSharding flushRouterConfig getShardMap getShardVersion isdbgrid listShards medianKey
		moveChunk moveCollection movePrimary moveRange mergeAllChunksOnShard mergeChunks refineCollectionShardKey removeShard
		removeShardFromZone reshardCollection rotateCertificates setAllowMigrations setShardVersion shardCollection
		shardingState split splitChunk splitVector transitionFromDedicatedConfigServer transitionToDedicatedConfigServer
		unsetSharding unshardCollection updateZoneKeyRange
		abortTransaction commitTransaction endSessions killAllSessions killAllSessionsByPattern killSessions
		refreshSessions startSession
		autoCompact clone cloneCollection cloneCollectionAsCapped closeAllDatabases collMod compact
		compactStructuredEncryptionData connPoolSync convertToCapped copydb copydbgetnonce create createIndexes currentOp
		drop dropDatabase dropConnections dropIndexes filemd5 fsync fsyncUnlock getDefaultRWConcern getClusterParameter
		getParameter killCursors killOp listCollections listDatabases listIndexes logRotate reIndex renameCollection
		setFeatureCompatibilityVersion setIndexCommitQuorum setClusterParameter setParameter setDefaultRWConcern
		setUserWriteBlockMode shutdown validateDBMetadata removeQuerySettings setQuerySettings touch repairDatabase
		availableQueryOptions buildInfo collStats connPoolStats connectionStatus cursorInfo dataSize dbHash dbStats
		diagLogging driverOIDTest explain features getCmdLineOpts getLog hostInfo listCommands lockInfo ping profile
		serverStatus shardConnPoolStats top validate whatsmyuri handshake netstat isSelf
		getAuditConfig logApplicationMessage setAuditConfig
		createSearchIndexes dropSearchIndex listSearchIndexes updateSearchIndex
		captrunc configureFailPoint emptycapped eval forceerror geoNear geoSearch geoWalk getLastError getPrevError
		getoptime godinsert group journalLatencyTest mapreduce.shardedfinish parallelCollectionScan
		replSetElect replSetFresh replSetGetRBID replSetHeartbeat replSetTest resync sleep testDistLockWithSkew
		writeBacksQueued writebacklisten authSchemaUpgrade setFreeMonitoring getFreeMonitoringStatus`

	// reference/operator/query, with what stands within $near, $geoWithin and $text.
	queryNames = `
		$eq $gt $gte $in $lt $lte $ne $nin $and $not $nor $or $exists $type $expr $jsonSchema $mod $regex $options $text $where
		$geoIntersects $geoWithin $near $nearSphere $box $center $centerSphere $geometry $maxDistance $minDistance $polygon
		$uniqueDocs $within $all $elemMatch $size $bitsAllClear $bitsAllSet $bitsAnyClear $bitsAnySet $comment $rand $natural
		$sampleRate $search $language $caseSensitive $diacriticSensitive $encStrContains $encStrStartsWith $meta $slice
		$explain $hint $max $maxScan $maxTimeMS $min $orderby $query $returnKey $showDiskLoc $snapshot`

	// reference/operator/update.
	updateNames = `
		$currentDate $inc $min $max $mul $rename $set $setOnInsert $unset $addToSet $pop $pull $push $pullAll $pushAll
		$each $position $slice $sort $bit $isolated $atomic`

	// reference/operator/aggregation-pipeline.
	stageNames = `
		$addFields $bucket $bucketAuto $changeStream $changeStreamSplitLargeEvent $collStats $count $currentOp $densify
		$documents $facet $fill $geoNear $graphLookup $group $indexStats $limit $listClusterCatalog $listLocalSessions
		$listSampledQueries $listSearchIndexes $listSessions $lookup $match $merge $out $planCacheStats $project
		$querySettings $queryStats $rankFusion $redact $replaceRoot $replaceWith $sample $score $scoreFusion $search
		$searchMeta $set $setWindowFields $shardedDataDistribution $skip $sort $sortByCount $unionWith $unset $unwind
		$vectorSearch`

	// reference/mql/accumulators, with the functions of $setWindowFields.
	accumulatorNames = `
		$accumulator $addToSet $avg $bottom $bottomN $concatArrays $count $first $firstN $last $lastN $max $maxN $median
		$mergeObjects $min $minN $percentile $push $setUnion $stdDevPop $stdDevSamp $sum $top $topN
		$covariancePop $covarianceSamp $denseRank $derivative $documentNumber $expMovingAvg $integral $linearFill $locf
		$minMaxScaler $rank $shift`

	// reference/mql/expressions.
	expressionNames = `
		$abs $accumulator $acos $acosh $add $addToSet $allElementsTrue $and $anyElementTrue $arrayElemAt $arrayToObject $asin
		$asinh $atan $atan2 $atanh $avg $binarySize $bitAnd $bitNot $bitOr $bitXor $bottom $bottomN $bsonSize $ceil $cmp
		$concat $concatArrays $cond $convert $cos $cosh $count $covariancePop $covarianceSamp $createObjectId $dateAdd
		$dateDiff $dateFromParts $dateFromString $dateSubtract $dateToParts $dateToString $dateTrunc $dayOfMonth $dayOfWeek
		$dayOfYear $degreesToRadians $denseRank $derivative $divide $documentNumber $encStrContains $encStrEndsWith
		$encStrNormalizedEq $encStrStartsWith $eq $exp $expMovingAvg $filter $first $firstN $floor $function $getField $gt
		$gte $hash $hexHash $hour $ifNull $in $indexOfArray $indexOfBytes $indexOfCP $integral $isArray $isNumber
		$isoDayOfWeek $isoWeek $isoWeekYear $last $lastN $let $linearFill $literal $ln $locf $log $log10 $lt $lte $ltrim $map
		$max $maxN $median $mergeObjects $meta $millisecond $min $minMaxScaler $minN $minute $mod $month $multiply $ne $not
		$objectToArray $or $percentile $pow $push $radiansToDegrees $rand $range $rank $reduce $regexFind $regexFindAll
		$regexMatch $replaceAll $replaceOne $reverseArray $round $rtrim $sampleRate $second $setDifference $setEquals
		$setField $setIntersection $setIsSubset $setUnion $shift $sigmoid $sin $sinh $size $slice $sortArray $split $sqrt
		$stdDevPop $stdDevSamp $strLenBytes $strLenCP $strcasecmp $substr $substrBytes $substrCP $subtract $sum $switch $tan
		$tanh $toArray $toBool $toDate $toDecimal $toDouble $toHashedIndexKey $toInt $toLong $toLower $toObject $toObjectId
		$toString $toUUID $toUpper $top $topN $trim $trunc $tsIncrement $tsSecond $type $unsetField $week $year $zip`

	// reference/aggregation-variables.
	variableNames = `$$NOW $$CLUSTER_TIME $$ROOT $$CURRENT $$REMOVE $$DESCEND $$PRUNE $$KEEP $$SEARCH_META $$USER_ROLES $$IDX $$this $$value`

	// reference/operator/projection.
	projectionNames = `$elemMatch $meta $slice`

	// core/indexes/index-types.
	indexTypes = `text 2d 2dsphere 2dsphere_bucket hashed geoHaystack columnstore queryable_encrypted_range wildcard`
)
